"""The interactive page: its formulas in a browser against coulomb and particles, its keys, and its command."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from cli_cases import run
from click.testing import CliRunner
from field_cases import PLANE, start

from minicoulomb import coulomb, particles, pictures
from minicoulomb.cli.main import main
from minicoulomb.data.mixtures import ring
from minicoulomb.pictures.colours import _MAP
from minicoulomb.pictures.interactive import charges_at, save_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-extensions --no-first-run --disable-component-update"
FLAGS += " --disable-background-networking --virtual-time-budget=500 --dump-dom"
# Whole and other exponents; with eps = 0 one of the points is a charge's.
KERNELS = [(1, 0.5), (2, 1.0), (3, 0.3), (1.5, 0.7), (2, 0.0)]
RNG = np.random.default_rng(0)
Y, X, A = (RNG.normal(size=(n, 2)).round(3) for n in (7, 5, 9))
A[0] = Y[0]
SQUARE = pictures.Square(-6.0, -5.0, 10.0)
START = {"title": "</script><b>a title", "d": 1.5, "eps": 0.7, "square": SQUARE, "real": Y.tolist()}
START |= {"generated": X.tolist()}
# What the page is asked for, as JSON in an element of its own.
QUESTIONS = """
<script>
const errors = [], found = {};
addEventListener("error", (event) => errors.push(event.message));
Element.prototype.setPointerCapture = () => {}; // made-up events have no pointer
Element.prototype.hasPointerCapture = () => true;
found.start = structuredClone(state.charges);
found.title = document.title;
found.slider = Number($("eps").value);
const { real, generated } = found.start;
const both = (a, d, eps) => [potential(a, real, generated, d, eps), field(a, real, generated, d, eps)];
found.sums = KERNELS.map(([d, eps]) => POINTS.map((a) => both(a, d, eps)));
found.one_kind = [potential(POINTS[0], real, [], 2, 1), potential(POINTS[0], [], [], 2, 1)];
found.steps = [provenStep(1.5, 0.7), naturalStep(real, 1.5, 0.7)];
changed = true;
while (changed || row >= 0) computeMap();
Object.assign(found, { values: [...values], arrows: [...arrows], colours: scale() });
found.moved = [false, true].map((repel) => {
  $("repel").checked = repel;
  placeParticles();
  const before = [...state.particles];
  moveParticles();
  return [before, [...state.particles], state.eta];
});
showCharges();
const charge = (kind, j) => $("charges").querySelector(`.${kind}[data-j="${j}"]`);
const press = (g, key, options) => g.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...options }));
press(charge("real", 1), "ArrowRight");
press(charge("real", 1), "ArrowUp", { shiftKey: true });
press(charge("real", 2), "Delete");
press(charge("generated", 0), "+");
found.focused = document.activeElement.getAttribute("aria-label");
press(document.activeElement, "Delete", { ctrlKey: true }); // the browser's own key
press(document.activeElement, "Escape");
found.escaped = document.activeElement.id;
found.keys = structuredClone(state.charges);
const box = $("charges").getBoundingClientRect();
const at = (x, y) => ({ clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true });
charge("real", 0).dispatchEvent(new PointerEvent("pointermove", at(0.5, 0.25)));
charge("real", 1).dispatchEvent(new PointerEvent("pointermove", at(-1, 2)));
document.querySelector("[value=generated]").checked = true;
$("charges").dispatchEvent(new MouseEvent("click", at(0.25, 0.5)));
found.mouse = structuredClone(state.charges);
charge("real", 0).focus();
for (const id of ["remove", "add", "run", "reset"]) $(id).click();
found.buttons = [$("count").textContent, state.running];
for (const [id, value] of [["eps", -0.5], ["d", 4]]) {
  $(id).value = value;
  $(id).dispatchEvent(new Event("input"));
}
found.kernel = [state.d, state.eps];
for (let left = state.charges.real.length / 2; left > 0; left--) removeCharge({ kind: "real", j: 0 });
for (let i = 0; i < 3; i++) frame();
found.no_real = [...state.particles].every(Number.isFinite);
document.body.innerHTML = "<pre id=found></pre>";
document.body.firstChild.textContent = JSON.stringify({ ...found, errors });
</script></body>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the page says in a browser."""
    if not BROWSER:
        pytest.skip("needs a browser: chromium or chrome")
    folder = tmp_path_factory.mktemp("page")
    save_page(folder / "a.html", START)
    questions = QUESTIONS.replace("KERNELS", json.dumps(KERNELS)).replace("POINTS", json.dumps(A.tolist()))
    (folder / "a.html").write_text((folder / "a.html").read_text().replace("</body>", questions))
    command = [BROWSER, *FLAGS.split(), f"--user-data-dir={folder}/profile", (folder / "a.html").as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(html.unescape(re.search('<pre id="found">(.*?)</pre>', page, re.DOTALL)[1]))


def pairs(flat):
    return np.reshape(flat, (-1, 2))


def test_potential_and_field_in_the_browser_are_those_of_the_package(found):
    for (d, eps), rows in zip(KERNELS, found["sums"], strict=True):
        phi, E = (np.array(column) for column in zip(*rows))
        np.testing.assert_allclose(phi, coulomb.potential(A, Y, X, d, eps), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(E, coulomb.field(A, Y, X, d, eps), rtol=1e-9, atol=1e-9)
    far = np.array([[1e12, 0.0]])  # a kind without charges has no field
    np.testing.assert_allclose(found["one_kind"], [coulomb.potential(A[:1], Y, far, 2, 1)[0], 0], rtol=1e-9)


def test_the_map_and_its_arrows_show_them(found):
    plane = pictures.Plane(SQUARE)
    phi = coulomb.potential(plane.centres(64).reshape(-1, 2), Y, X, 1.5, 0.7)
    np.testing.assert_allclose(found["values"], phi, rtol=1e-6, atol=1e-9)
    E = coulomb.field(plane.centres(16).reshape(-1, 2), Y, X, 1.5, 0.7)
    np.testing.assert_allclose(pairs(found["arrows"]), E, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found["colours"], _MAP)


def test_particles_take_the_steps_of_particles(found):
    proven, natural = found["steps"]
    np.testing.assert_allclose(proven, particles.proven_step(1.5, 0.7), rtol=1e-12)
    np.testing.assert_allclose(natural, particles.natural_step(Y, 1.5, 0.7), rtol=1e-9)
    for repel, (before, after, eta) in enumerate(found["moved"]):
        p = pairs(before)
        assert len(p) == 500
        np.testing.assert_allclose(eta, 1.5 * natural, rtol=1e-12)
        generated = np.concatenate([X, p]) if repel else X
        expected = p.copy()
        particles.euler(eta)(expected, coulomb.field(p, Y, generated, 1.5, 0.7), 1)
        np.testing.assert_allclose(pairs(after), expected, rtol=1e-9, atol=1e-9)


def test_keys_and_mouse_move_add_and_remove_charges(found):
    y, x = Y.copy(), np.concatenate([X, X[:1] + (SQUARE.side / 20, 0)])
    y[1] += (SQUARE.side / 50, SQUARE.side / 500)
    y = np.delete(y, 2, axis=0)
    for kind, expected in (("real", y), ("generated", x)):
        np.testing.assert_allclose(pairs(found["keys"][kind]), expected, atol=1e-9)
    assert found["focused"] == f"generated charge 6 at {x[-1][0]:.1f}, {x[-1][1]:.1f}"
    assert found["escaped"] == "eps"
    y[:2] = (-1, 2.5), (-6, -5)  # to a pixel; no charge leaves the square
    x = np.concatenate([x, [[-3.5, 0]]])
    for kind, expected in (("real", y), ("generated", x)):
        np.testing.assert_allclose(pairs(found["mouse"][kind]), expected, atol=0.05)
    assert found["buttons"] == ["5 real, 8 generated", True]
    np.testing.assert_allclose(found["kernel"], [4, 10**-0.5], rtol=1e-9)
    assert found["no_real"]
    assert found["errors"] == []


def test_the_page_starts_with_what_it_is_given(found):
    assert found["title"] == START["title"]
    np.testing.assert_array_equal(pairs(found["start"]["real"]), Y)
    np.testing.assert_array_equal(pairs(found["start"]["generated"]), X)
    assert abs(found["slider"] - np.log10(0.7)) < 0.01


def test_the_command_writes_one_file_that_loads_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("field", "--interactive", "-o", "a.html") == "the field of charges, for a browser: a.html\n"
    assert "the field of ring at step 0" in run("field", "ring", "--interactive", "-n", 3, "-o", "b.html")
    for name in ("a.html", "b.html"):
        text = (tmp_path / name).read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"src=|href=|url\(|import|fetch\(", text)
        assert len(text.splitlines()) < 430
        words = re.search(r'<p class="text">(.*?)</p>', text, re.DOTALL)[1]
        assert len(re.findall(r"\.(?=\s|$)", words)) == 5
    charges = [json.loads(text) for text in re.findall(r'id="start">\n(.*?)\n</script>', text, re.DOTALL)]
    assert [len(charges[0][kind]) for kind in ("real", "generated")] == [3, 3]


def test_a_run_gives_its_points_and_the_kernel_of_its_step():
    config = PLANE.replace(eps_end=0.4, steps=10)
    found = charges_at(start(config, ring(), 10), ring(), 20)
    assert (found["d"], round(found["eps"], 9)) == (1.5, 0.4)
    assert np.shape(found["real"]) == np.shape(found["generated"]) == (20, 2)
    assert found["title"] == "The field of ring at step 10"
    assert np.shape(charges_at(start(PLANE, ring()), ring())["real"]) == (100, 2)


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        (["--interactive", "--animate", "-o", "a.html"], "make different files; drop one of them", 2),
        (["--interactive"], "Missing option '-o'", 2),
        (["--interactive", "-o", "a.png"], "with --interactive the output is a .html file; use a.html", 1),
        (["ring", "-o", "a.html"], "without --animate and --interactive the output is a .png file; use a.png", 1),
        (
            ["digits", "--interactive", "-o", "a.html"],
            "shape (8, 8, 1): --interactive shows points of two coordinates",
            1,
        ),
        (["ring", "--interactive", "-n", "1001", "-o", "a.html"], "at most 1000; use -n 100", 1),
        (["-o", "a.png"], "only --interactive works without one", 2),
        (["--interactive", "-n", "5", "--data", "ring", "-o", "a.html"], "-n, --data: needs a RUN or PRESET", 2),
    ],
)
def test_mistakes_with_the_page_are_told_and_nothing_is_written(tmp_path, monkeypatch, arguments, told, status):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["field", *arguments])
    assert (result.exit_code, told in " ".join(result.output.split())) == (status, True), result.output
    assert not list(tmp_path.iterdir())
