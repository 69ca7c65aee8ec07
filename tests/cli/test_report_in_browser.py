"""The page about a network, as a browser shows it."""

import json
import re
import shutil
import subprocess

import pytest
import vl_convert

from torchdau.analysis import displacement_distribution, moved, units_of
from torchdau.analysis.charts import CELLS
from torchdau.training.logs import read_scalars
from torchdau.training.restoring import restore_network, restore_start

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium to show pages")


def with_script(page, script):
    """A copy of a page that runs a script at its end."""
    copy = page.with_name(f"{page.stem}_with_script.html")
    text, end, rest = page.read_text().rpartition("</body>")
    copy.write_text(f"{text}<script>{script}</script>{end}{rest}")
    return copy


def shown(page, script):
    """The text of a page's DOM once it is drawn, and what the browser complained of."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=20000", "--dump-dom", with_script(page, script).as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


STEP_THROUGH = """
addEventListener("load", () => setTimeout(async () => {
  const seen = {};
  for (const menu of document.querySelectorAll("select")) {
    const figure = menu.closest("figure");
    for (const option of [...menu.options]) {
      menu.value = option.value;
      menu.dispatchEvent(new Event("input"));
      menu.dispatchEvent(new Event("change"));
      await new Promise(done => setTimeout(done, 200));
      const key = figure.getAttribute("aria-label") + " / " + option.text;
      seen[key] = figure.querySelector(".mark-rect").querySelectorAll("path").length;
    }
  }
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
}, 1000));
"""


def test_a_browser_shows_it(units, plain, torchdau, tmp_path, capsys):
    torchdau("report", units, "--compare", plain, "--output", "page/report.html")
    assert "written: page/report.html" in capsys.readouterr().out
    page = tmp_path / "page/report.html"
    assert page.stat().st_size < 2_000_000
    own = page.read_text().replace(vl_convert.javascript_bundle(), "")
    assert not re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=|https?:(?!//vega.github.io/schema)", own)
    dom, complaints = shown(page, STEP_THROUGH)
    assert complaints == []
    charts = re.findall(r'<div id="chart-[^"]*"', dom)
    assert len(charts) == len(re.findall(r'<svg[^>]*class="marks"', dom)) >= 4
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', dom)[1])
    layers = [name for name in seen if name.startswith("Where")]
    assert all(seen.values()), seen
    for heading in ("Summary", "Where units went", "What a layer sees", "Training", "Layers", "Pruning"):
        assert f">{heading}</h2>" in dom
    assert "<title>dau_cifarnet on Digits</title>" in dom
    accuracy = [read_scalars(path)["val_accuracy"][-1][1] for path in (units, plain)]
    parameters = [sum(p.numel() for p in restore_network(path).parameters()) for path in (units, plain)]
    cells = [
        f"<td>{a:.1%}</td><td>{u}</td><td>{p:,}</td>"
        for a, u, p in zip(accuracy, ("6,208", "none"), parameters, strict=True)
    ]
    assert all(cell in dom for cell in cells), cells
    difference = 100 * (accuracy[0] - accuracy[1])
    words = f"its accuracy is {abs(difference):.1f} points {'higher' if difference > 0 else 'lower'}"
    assert f"has {1 - parameters[0] / parameters[1]:.0%} fewer parameters than cifarnet, and {words}" in dom
    assert f"cifarnet: {plain}, " in dom
    distance = units_of(restore_network(units))[0].distance.mean()
    cells = [int((displacement_distribution(layer, CELLS)[0] > 0).sum()) for layer in units_of(restore_network(units))]
    assert len(set(cells)) == len(layers) == 3  # other layers, other pictures
    assert [seen[name] for name in layers] == cells
    went = moved(units_of(restore_network(units))[0], units_of(restore_start(units))[0]).mean()
    assert f"<td>{distance:.2f} px</td><td>{went:.2f} px</td>" in dom
    assert went > 0.005


def test_it_fits_a_phone(units, plain, torchdau, tmp_path):
    """In a frame, as no window of Chromium is narrower than 500 pixels."""
    torchdau("report", units, "--compare", plain)
    measure = """setTimeout(() => parent.postMessage(`${innerWidth} ${document.documentElement.scrollWidth} ${
    Math.max(...[...document.querySelectorAll("svg.marks")].map(s => s.getBoundingClientRect().right))}`, "*"), 3000)"""
    inside = with_script(tmp_path / "report.html", measure)
    phone = tmp_path / "phone.html"
    phone.write_text(f'<body><iframe src="{inside.name}" width="390" height="2000" style="border: 0"></iframe></body>')
    note = """onmessage = ({ data }) => document.body.insertAdjacentHTML("beforeend", `<pre id="seen">${data}</pre>`)"""
    dom, complaints = shown(phone, note)
    assert complaints == []
    width, page, charts = map(float, re.search(r'<pre id="seen">([\d. ]+)', dom)[1].split())
    assert width == 390
    assert page <= width
    assert charts <= width
