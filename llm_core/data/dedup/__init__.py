"""Which documents are the same: signatures part by part, then clusters over all of them."""
