"""Finds equal and nearly equal documents: signatures part by part, then clusters over all parts."""
