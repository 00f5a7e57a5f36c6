"""Names of formats that nobody can read as text, by their first bytes, so that a refusal can say what a file is."""

import re

PICTURE = "a {} picture"
MAGIC = {
    b"\x89PNG\r\n": PICTURE.format("PNG"),
    b"\xff\xd8\xff": PICTURE.format("JPEG"),
    b"GIF8": PICTURE.format("GIF"),
    b"II*\0": PICTURE.format("TIFF"),
    b"MM\0*": PICTURE.format("TIFF"),
    b"II+\0": PICTURE.format("TIFF"),
    b"MM\0+": PICTURE.format("TIFF"),
    b"8BPS\0": "a Photoshop picture",
    b"\0\0\1\0": PICTURE.format("Windows icon"),
    b"\0\0\0\x0cjP  ": PICTURE.format("JPEG 2000"),
    b"\0\0\0\x0cJXL ": PICTURE.format("JPEG XL"),
    b"AT&TFORM": "a DjVu scan; convert it to PDF",
    b"ID3": "an MP3 recording",
    b"\xff\xfb": "an MP3 recording",
    b"\xff\xf3": "an MP3 recording",
    b"\xff\xf2": "an MP3 recording",
    b"OggS": "an Ogg recording",
    b"fLaC": "a FLAC recording",
    b"MThd": "MIDI music",
    b"#!AMR": "an AMR recording",
    b"\x1aE\xdf\xa3": "a Matroska or WebM video",
    b"FLV\1": "a Flash video",
    b"\0\0\1\xba": "an MPEG video",
    b"\0\0\1\xb3": "an MPEG video",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "a Windows Media recording",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!\x1a\x07": "a RAR archive; unpack it",
    b"MSCF\0": "a Windows cabinet archive",
    b"!<arch>\n": "an archive of a package or library",
    b"\xed\xab\xee\xdb": "an RPM package",
    b"PAR1": "a Parquet file; give it a name that ends in .parquet",
    b"ARROW1\0": "an Arrow file; give it a name that ends in .arrow",
    b"Obj\1": "an Avro file",
    b"SQLite format 3\0": "a SQLite database",
    b"\x89HDF\r\n": "an HDF5 file",
    b"CDF\1": "a NetCDF file",
    b"CDF\2": "a NetCDF file",
    b"\x93NUMPY": "a NumPy array",
    b"\x7fELF": "a program",
    b"\xfe\xed\xfa\xce": "a program",
    b"\xfe\xed\xfa\xcf": "a program",
    b"\xce\xfa\xed\xfe": "a program",
    b"\xcf\xfa\xed\xfe": "a program",
    b"\xca\xfe\xba\xbe": "a compiled Java class",
    b"\0asm": "a WebAssembly program",
    b"dex\n03": "an Android program",
    b"OTTO\0": "a font",
    b"\0\1\0\0\0": "a font",
    b"ttcf\0": "a font",
    b"wOFF\0": "a font",
    b"wOF2\0": "a font",
    b"%!PS": "PostScript; convert it to PDF",
    b"\xc5\xd0\xd3\xc6": "PostScript; convert it to PDF",
    b"\xffWPC": "a WordPerfect document; save it as .docx",
    b"ITOLITLS": "a Microsoft Reader book",
    b"ITSF": "a compiled Windows help file",
}
NEEDS_NUL = (b"GIF8", b"ID3", b"OggS", b"fLaC", b"PAR1", b"AT&TFORM", b"ITOLITLS", b"ITSF", b"II", b"MM")
"""Of these letters a text can begin as well: they count only with a NUL soon after them."""
RIFF = {b"WEBP": PICTURE.format("WebP"), b"WAVE": "a WAV recording", b"AVI ": "an AVI video"}
PICTURE_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), PICTURE.format("HEIC")),
    **dict.fromkeys((b"avif", b"avis"), PICTURE.format("AVIF")),
    b"crx ": PICTURE.format("Canon raw"),
    **dict.fromkeys((b"M4A ", b"M4B "), "an MPEG-4 recording"),
}
KINDLE = {b"BOOKMOBI", b"TEXtREAd"}
OLE2_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Streams of an OLE2 file by their names in its directory, which are in UTF-16.
OLE2_STREAMS = {
    "WordDocument": "an old Word document; save it as .docx",
    "Workbook": "an old Excel workbook; save it as .xlsx",
    "Book": "an old Excel workbook; save it as .xlsx",
    "PowerPoint Document": "an old PowerPoint presentation; save it as .pptx",
    "__properties_version1.0": "an Outlook message; save it as .eml",
    "VisioDocument": "a Visio drawing",
    "Quill": "a Publisher document",
}
ENCRYPTED_STREAM = "EncryptedPackage"
NUL_WITHIN_BYTES = 1024


def name_of(head: bytes) -> str | None:
    """What the bytes are, with an article; None if they may be text or something that is read."""
    for magic, what in MAGIC.items():
        if head.startswith(magic) and (not magic.startswith(NEEDS_NUL) or _has_nul(head)):
            return what
    if head.startswith(b"RIFF") and _has_nul(head):
        return RIFF.get(head[8:12], "a RIFF file")
    if head[4:8] == b"ftyp":
        return PICTURE_BRANDS.get(head[8:12], "an MPEG-4 video")
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return PICTURE.format("BMP")
    if head.startswith(b"MZ") and b"\0" in head[:64]:
        return "a Windows program"
    if head[60:68] in KINDLE:
        return "a Kindle book; convert it to EPUB"
    if is_tar(head):
        return "a tar archive; give it a name that ends in .tar, .tar.gz or the like, or unpack it"
    if head[128:132] == b"DICM":
        return PICTURE.format("DICOM")
    return None


def is_tar(head: bytes) -> bool:
    """Whether it is a tar archive of today's kinds."""
    return head[257:262] == b"ustar"


def is_encrypted_office(head: bytes, suffix: str) -> bool:
    """Whether an OLE2 file is what Office makes of a document with a password."""
    return _has_stream(head, ENCRYPTED_STREAM) or suffix in (".docx", ".xlsx", ".pptx", ".docm", ".xlsm", ".pptm")


def ole2_name(head: bytes, suffix: str) -> str:
    """What an OLE2 file is: by its streams, else by its name."""
    by_suffix = {".doc": "WordDocument", ".xls": "Workbook", ".ppt": "PowerPoint Document"}
    found = next((stream for stream in OLE2_STREAMS if _has_stream(head, stream)), by_suffix.get(suffix))
    return OLE2_STREAMS[found] if found else "an old Microsoft Office file"


def _has_nul(head: bytes) -> bool:
    return b"\0" in head[:NUL_WITHIN_BYTES]


def _has_stream(head: bytes, name: str) -> bool:
    return re.search(rb"(?<![^\0])" + re.escape(name.encode("utf-16-le")) + rb"\0\0", head) is not None
