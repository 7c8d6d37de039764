"""The report in a real browser, where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from spavl_dag.report.build import build_report
from tests.report.invented import DRAWN, inputs

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

WIDTHS = (375, 820, 1425)
"""Of a phone, a tablet and a desk, each without a scroll bar."""

# A frame of a phone's and of a desk's width; what is wider than its frame would scroll sideways.
FRAMES = """<!DOCTYPE html><body>
{frames}
<pre id="out"></pre>
<script>
addEventListener("load", () => {{
  const measured = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, root = page.documentElement;
    const board = page.querySelector("#leaderboard .scroll");
    const clipped = [...page.querySelectorAll("figure svg text")].filter(text => {{
      const box = text.getBoundingClientRect(), all = text.ownerSVGElement.getBoundingClientRect();
      return all.width && (box.left < all.left - 1 || box.right > all.right + 1);
    }}).map(text => text.textContent);
    return {{width: frame.clientWidth, tooWide: root.scrollWidth - root.clientWidth,
      rows: page.querySelectorAll("#leaderboard tbody tr").length,
      cut: board.scrollWidth - board.clientWidth,
      seen: [...page.querySelectorAll("#leaderboard tbody td")].filter(cell => {{
        const box = cell.getBoundingClientRect();
        return box.width > 20 && box.left >= 0 && box.right <= root.clientWidth + 1;
      }}).length,
      headed: getComputedStyle(page.querySelector("#leaderboard td"), "::before").content,
      charts: [...page.querySelectorAll("figure svg")].filter(svg => svg.getBoundingClientRect().height > 50).length,
      clipped}};
  }});
  document.getElementById("out").textContent = JSON.stringify(measured);
}});
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_report_fits_narrow_and_wide_windows(tmp_path: Path) -> None:
    report = html.escape(build_report(inputs(**DRAWN))["report.html"].decode())
    frames = "\n".join(f'<iframe width="{w}" height="800" frameborder="0" srcdoc="{report}"></iframe>' for w in WIDTHS)
    (tmp_path / "frames.html").write_text(FRAMES.format(frames=frames))
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"),
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    measured = json.loads(html.unescape(found[1]))
    assert [frame["width"] for frame in measured] == list(WIDTHS)
    for frame in measured:
        assert frame["tooWide"] == 0, "the page scrolls sideways"
        assert frame["rows"] == 8
        assert frame["cut"] == 0, "a column of the leaderboard is out of sight"
        assert frame["seen"] == 8 * 12, "gate, rows and ten headlines of every checkpoint"
        assert ("Gate" in frame["headed"]) == (frame["width"] < 1000), "a card names its numbers"
        assert frame["charts"] > 15
        assert frame["clipped"] == []
