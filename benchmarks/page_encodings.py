"""Web pages in twenty-three encodings, with right, missing and wrong labels: is their text what a browser shows?

    python -m benchmarks.page_encodings [--browser chromium]

A page is a sentence of its language, six times, in one encoding. ``right``: its label says which; ``missing``: it has
none; ``wrong``: it says utf-8. Without a browser its columns stay empty. Pages in UTF-8 are tried under other labels,
too.
"""

import argparse
import html
import re
import subprocess
import tempfile
from pathlib import Path

from llm_core.data.sources.encodings import decoded

SENTENCES = {
    "Russian": "Москва — столица России. Население города составляет более двенадцати миллионов человек, и их больше.",
    "Ukrainian": "Київ — столиця України. Їхні мешканці щодня їздять на роботу метром, а навесні цвітуть каштани.",
    "Japanese": "東京は日本の首都です。毎日たくさんの人々が電車で通勤しています。春になると桜の花が咲きます。",
    "Chinese": "北京是中华人民共和国的首都。城市历史悠久,有许多著名的古迹。每年有很多游客来到这里参观。",
    "Taiwanese": "臺北是臺灣的首都。這座城市有許多著名的夜市和博物館,每年吸引大量遊客前來參觀。",
    "Korean": "서울은 대한민국의 수도이다. 많은 사람들이 지하철을 이용하여 출퇴근한다. 봄에는 벚꽃이 핀다.",
    "French": "L'été dernier, nous avons visité une forêt près de la mer; les élèves étaient très contents de la cité.",
    "German": "Die Straße führt über die Brücke. Für die Prüfung müssen die Schüler viele schöne Übungen machen.",
    "Polish": "Książka leży na stole. Żółty samochód stał przed domem, a dzieci bawiły się w ogrodzie i śpiewały.",
    "Czech": "Včera jsme byli na výletě v horách a viděli jsme krásné jezero, které je hluboké a čisté.",
    "Greek": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας. Πολλοί τουρίστες επισκέπτονται κάθε χρόνο την πόλη.",
    "Turkish": "İstanbul çok kalabalık bir şehirdir. Dün akşam arkadaşlarımla güzel bir lokantada yemek yedik.",
    "Hebrew": "ירושלים היא עיר הבירה של מדינת ישראל. אנשים רבים מבקרים בעיר העתיקה בכל שנה.",
    "Arabic": "القاهرة هي عاصمة جمهورية مصر العربية وأكبر مدنها. يزور المدينة كل عام عدد كبير من السياح.",
    "Thai": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย มีนักท่องเที่ยวจำนวนมากมาเยี่ยมชมวัดทุกปี",
}
ENCODINGS = [
    ("Russian", "cp1251", "windows-1251"),
    ("Russian", "koi8_r", "koi8-r"),
    ("Russian", "iso8859_5", "iso-8859-5"),
    ("Russian", "cp866", "ibm866"),
    ("Russian", "mac_cyrillic", "x-mac-cyrillic"),
    ("Ukrainian", "koi8_u", "koi8-u"),
    ("Japanese", "cp932", "shift_jis"),
    ("Japanese", "euc_jp", "euc-jp"),
    ("Japanese", "iso2022_jp", "iso-2022-jp"),
    ("Chinese", "gb18030", "gb2312"),
    ("Taiwanese", "big5hkscs", "big5"),
    ("Korean", "cp949", "euc-kr"),
    ("French", "cp1252", "iso-8859-1"),
    ("German", "cp1252", "us-ascii"),
    ("Polish", "cp1250", "windows-1250"),
    ("Polish", "iso8859_2", "iso-8859-2"),
    ("Czech", "cp1250", "windows-1250"),
    ("Greek", "cp1253", "windows-1253"),
    ("Greek", "iso8859_7", "iso-8859-7"),
    ("Turkish", "cp1254", "iso-8859-9"),
    ("Hebrew", "cp1255", "windows-1255"),
    ("Arabic", "cp1256", "windows-1256"),
    ("Thai", "cp874", "tis-620"),
]


def page(sentence: str, encoding: str, label: str | None) -> bytes:
    meta = f'<meta charset="{label}">' if label else ""
    text = "\n".join(f"<p>{sentence}</p>" for _ in range(6))
    return f"<!doctype html><html><head>{meta}<title>x</title></head><body>{text}</body></html>".encode(encoding)


def body(text: str) -> str:
    inside = text.split("<body", 1)[-1].split(">", 1)[-1]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", inside)).split())


def shown(content: bytes, browser: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.html")
        path.write_bytes(content)
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
        return body(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser")
    arguments = parser.parse_args()
    print("| label | pages | ours right | browser right | ours as the browser, where that is right | ours wrong |")
    print("|---|--:|--:|--:|--:|---|")
    for kind in ("right", "missing", "wrong"):
        ours, theirs, both, wrong = 0, 0, 0, []
        for language, encoding, label in ENCODINGS:
            sentence = SENTENCES[language].encode(encoding, "replace").decode(encoding)
            content = page(sentence, encoding, {"right": label, "missing": None, "wrong": "utf-8"}[kind])
            right = body(decoded(content)) == " ".join([sentence] * 6)
            ours += right
            if not right:
                wrong.append(f"{language} in {encoding}")
            if arguments.browser and shown(content, arguments.browser) == " ".join([sentence] * 6):
                theirs += 1
                both += right
        seen = (str(theirs), f"{both} of {theirs}") if arguments.browser else ("", "")
        print(f"| {kind} | {len(ENCODINGS)} | {ours} | {seen[0]} | {seen[1]} | {', '.join(wrong) or 'none'} |")
    labels = ("iso-8859-1", "windows-1251", "shift_jis", "gb2312", "euc-kr", None)
    pairs = [(sentence, label) for sentence in SENTENCES.values() for label in labels]
    ours = sum(body(decoded(page(text, "utf-8", label))) == " ".join([text] * 6) for text, label in pairs)
    print(f"| UTF-8 under {len(labels) - 1} other labels and none | {len(pairs)} | {ours} | | | |")


if __name__ == "__main__":
    main()
