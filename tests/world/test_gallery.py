"""The gallery is one page that needs no other file and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avatar_lab.world.gallery import write_gallery


@pytest.mark.ci
def test_the_page_holds_everything_it_shows(tmp_path: Path) -> None:
    page = tmp_path / "new" / "gallery.html"
    write_gallery(page, faces=4, voices=1)
    text = page.read_text()
    sources = re.findall(r"src='([^']{0,24})", text)
    assert len(sources) >= 4 + 2 + 10 + 2 * 6 + 3
    assert all(source.startswith("data:") for source in sources)
    assert not re.findall(r"https?://|<script|<link", text)
    for kind in ("image/png", "video/mp4", "audio/wav"):
        assert f"data:{kind};base64," in text
    assert text.count("<svg") == 3
    assert text.count("class='cause'") >= 6, "arrows from cues to responses"
    for heading in ("Faces", "Behaviours", "Voices", "Conversations", "Edges", "People and world"):
        assert f"<h2>{heading}</h2>" in text
