"""Every name that the package takes from the array library, and every keyword, held against the installed CuPy.

The source is read, not run: CuPy imports where there is no GPU, so its names and signatures are there to compare.
An expression stands for the library where it is `xp`, `anything.xp`, `array_module(...)`, or a variable bound to one
of these or to something in it (`multiply = xp.multiply`, `xp, n = array_module(x), len(x)`).

On arrays themselves a method that NumPy has and CuPy lacks is reported, and a keyword likewise. And `np.` is for the
host: in a module that may meet a GPU's arrays it is held against a list of what takes no array.
"""

import ast
import importlib.util
import inspect
import re
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import strict_cupy

PACKAGE = Path(__file__).parents[2] / "minicoulomb"

# Modules (or folders) where no GPU's array comes: they may use all of NumPy.
HOST = {
    "arrays/backend": "the border itself",
    "data/": "batches are drawn on the host; train.py moves them",
    "presets": "measures the distances of the user's points, which lie on the host",
    "cli/environment": "reads versions, no arrays",
    "evaluation/metrics": "takes host arrays of samples",
    "evaluation/evaluate": "takes host arrays of samples",
    "evaluation/duplicates": "takes host arrays of samples",
    "evaluation/ngrams": "takes host arrays of lines",
    "pictures/": "draws host arrays",
    "report/": "writes a page",
    "cli/": "parse, call, print; the real points and the start of particles are drawn on the host",
    "training/checkpoint": "files hold host arrays",
    "verify/": "finite differences and the autodiff oracles run on the host",
    "world/processes": "MPI sums host arrays; a GPU's are summed by NCCL, or come by to_host",
    "arrays/rng": "all draws are made on the host",
    "fid/torch_file": "files hold host arrays",
    "fid/weights": "files hold host arrays",
    "fid/statistics": "sums features on the host",
    "coulomb/float32_distances": "takes host arrays alone",
    "coulomb/pairs": "takes host arrays, and calls pairs_cuda for others",
    "conv/winograd_plan": "a plan's matrices are made on the host, once",
    "layers/layer": "initial values are drawn on the host",
    "arguments": "looks at types and shapes, and at the addresses of host arrays",
    "untrusted": "files hold host arrays",
    "arrays/threads": "tells a host array from others, no more",
}

# What modules that may meet a GPU's arrays may take from NumPy: types, and functions that take no array.
TYPES = set(
    "dtype ndarray generic floating integer bool_ uint8 int32 int64 uint32 uint64 intp float16 float32 float64".split()
)
NO_ARRAYS = {
    "random",
    "result_type",
    "can_cast",
    "finfo",
    "iinfo",
    "errstate",
    "ndindex",
    "inf",
    "nan",
    "pi",
    "newaxis",
}
EXCEPTIONS = {
    **{
        ("fid/resize", name): "a matrix is made on the host, once"
        for name in ("arange", "maximum", "minimum", "zeros", "add")
    },
    ("fid/compare", "asarray"): "of a data set's memory-mapped pixels",
    ("fid/compare", "arange"): "numbers of a data set's rows",
    ("arrays/matmul", "matmul"): "in the branch of host arrays",
    ("arrays/matmul", "promote_types"): "of dtypes",
    ("conv/winograd_cuda", "ndenumerate"): "of a plan's matrices, which are the host's",
    **{
        ("particles", name): "of energies that were read, and of step numbers"
        for name in ("array", "diff", "geomspace", "rint")
    },
    ("arrays/upload", "frombuffer"): "pinned memory is the host's",
    ("arrays/upload", "copyto"): "pinned memory is the host's",
    **{("diagnostics", name): "in the branch of host arrays" for name in ("isfinite", "array")},
    ("schedules", "array"): "numbers of a schedule, made on the host",
    ("network", "empty"): "initial parameters are laid out on the host",
    ("training/sampling", "concatenate"): "of samples that to_host returned",
    ("trained", "concatenate"): "latent vectors are drawn on the host",
    **{("pictures/field_picture", name): "of what to_host returned" for name in ("abs", "linalg", "quantile")},
    **{("training/sampling", name): "latent vectors are made on the host" for name in ("linspace", "cos", "sin")},
}

# Callables whose docstrings do not tell their keywords.
SIGNATURES = {
    "ElementwiseKernel": "(in_params, out_params, operation, name='kernel', reduce_dims=True, preamble='', "
    "no_return=False, return_tuple=False, options=(), loop_prep='', after_loop='')",  # these three in its **kwargs
    "fuse": "(function=None, *, kernel_name=None)",  # its **kwargs
}

UNKNOWN = object()  # what a function returned, of which the source tells nothing


class Extension:
    """A module of CuPy's that does not load without CUDA's libraries: its names stand in its file.

    Cython keeps every public name there as a C string, and every function's signature as its docstring.
    """

    def __init__(self, name):
        self._code = Path(importlib.util.find_spec(f"cupy_backends.cuda.libs.{name}").origin).read_bytes()

    def __getattr__(self, name):
        word = re.escape(name.encode())
        if not re.search(rb"\0" + word + rb"\0", self._code):
            raise AttributeError(name)
        documented = re.search(rb"\0(" + word + rb"\([^\0]*)\0", self._code)
        if not documented:
            return UNKNOWN
        function = lambda: None
        function.__signature__ = parse_signature(documented[1].decode())
        return function


def parse_signature(text):
    """inspect.Signature of `name(int a, b=1, *, c=None) -> type`, as Cython writes it in docstrings; or None."""
    if "(" not in text:
        return None
    parameters, depth, start = [], 0, text.index("(")
    for end in range(start, len(text)):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[end], 0)
        if depth == 0 or (depth == 1 and text[end] == ","):
            parameters.append(text[start + 1 : end].strip())
            start = end
        if depth == 0:
            break
    plain = [re.sub(r"^.* ", "", declared.partition("=")[0].replace("\\", "")) for declared in parameters if declared]
    defaults = ["=None" if "=" in declared else "" for declared in parameters if declared]
    given = [name + default for name, default in zip(plain, defaults) if name != "self"]
    namespace = {}
    try:
        exec(f"def function({', '.join(given)}): pass", namespace)
    except SyntaxError:
        return None
    return inspect.signature(namespace["function"])


def signature_of(function, name=""):
    """Of a Python function, of a ufunc or another of Cython's by its docstring; None where nothing tells."""
    if name in SIGNATURES:
        return parse_signature(SIGNATURES[name])
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        first_line = (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]
        return parse_signature(first_line) if re.match(r"[\w.]+\(", first_line) else None


class Reader(ast.NodeVisitor):
    """Collects `findings`, "line: what is wrong", in the source of one module.

    A path is where something stands in the library: ("linalg", "norm"), () for itself, with "()" for a call.
    """

    def __init__(self, cupy, module="", host=False):
        self.cupy, self.module, self.host = cupy, module, host
        self.findings, self._scopes, self._numpy = [], [{}], set()

    def read(self, source):
        self.visit(ast.parse(source))
        return list(dict.fromkeys(self.findings))

    def _report(self, node, what):
        self.findings.append(f"{self.module}:{node.lineno}: {what}")

    # What an expression stands for.

    def _paths(self, node) -> set[tuple]:
        match node:
            case ast.Name(id=name):
                return next((scope[name] for scope in reversed(self._scopes) if name in scope), set())
            case ast.Attribute(attr="xp"):
                return {()}
            case ast.Attribute(value=value, attr=name):
                return {(*path, name) for path in self._paths(value)}
            case ast.Call(func=ast.Name(id="array_module")):
                return {()}
            case ast.Call(func=function):
                return {(*path, "()") for path in self._paths(function)}
            case ast.IfExp(body=one, orelse=other):
                return self._paths(one) | self._paths(other)
            case ast.NamedExpr(value=value):
                return self._paths(value)
        return set()

    def _bind(self, target, value=None):
        match target, value:
            case ast.Name(id="xp"), _:
                self._scopes[-1]["xp"] = {()}
            case ast.Name(id=name), _:
                self._scopes[-1][name] = self._paths(value)
            case (ast.Tuple(elts=targets), ast.Tuple(elts=values)) if len(targets) == len(values):
                for pair in zip(targets, values):
                    self._bind(*pair)
            case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), _):
                for each in targets:
                    self._bind(each)
            case ast.Starred(value=inner), _:
                self._bind(inner)

    def visit_Assign(self, node):
        self.generic_visit(node)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_NamedExpr(self, node):
        self.generic_visit(node)
        self._bind(node.target, node.value)

    visit_AnnAssign = visit_NamedExpr

    def visit_For(self, node):
        self._bind(node.target)
        self.generic_visit(node)

    def visit_FunctionDef(self, node):
        for outside in [*getattr(node, "decorator_list", []), node.args]:
            self.visit(outside)
        self._scopes.append({})
        arguments = node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            self._bind(ast.Name(id=argument.arg))
        for inside in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(inside)
        self._scopes.pop()

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node):
        self._scopes.append({})
        self.generic_visit(node)
        self._scopes.pop()

    def _visit_comprehension(self, node):
        self._scopes.append({})
        for generator in node.generators:
            self._bind(generator.target)
        self.generic_visit(node)
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    # Names.

    def visit_Import(self, node):
        self._numpy |= {alias.asname or alias.name for alias in node.names if alias.name == "numpy"}

    def visit_ImportFrom(self, node):
        if (node.module or "").partition(".")[0] == "numpy":
            for alias in node.names:
                self._check_numpy(node, alias.name)

    def visit_Attribute(self, node):
        for path in self._paths(node):
            self._resolve(path, node)
        if isinstance(node.value, ast.Name) and node.value.id in self._numpy:
            self._check_numpy(node, node.attr)
        elif not self._paths(node) and node.attr in _only_in_numpy(self.cupy) and not self._is_allowed(node.attr):
            self._report(node, f".{node.attr}: NumPy's arrays have it, CuPy's do not")
        self.generic_visit(node)

    def _is_allowed(self, name):
        return self.host or (self.module, name) in EXCEPTIONS

    def _check_numpy(self, node, name):
        if name not in TYPES | NO_ARRAYS and not self._is_allowed(name):
            self._report(node, f"np.{name}: takes host arrays; use array_module, or give a reason in EXCEPTIONS")

    def _resolve(self, path, node):
        """The object at the path, or UNKNOWN; a missing one is reported."""
        found, is_instance = self.cupy, False
        for i, name in enumerate(path):
            if is_instance and not callable(found):  # a property, and nothing tells of what
                return UNKNOWN
            if name == "()":  # an instance has its class's attributes
                if not isinstance(found, type):
                    return UNKNOWN
                is_instance = True
                continue
            try:
                found = getattr(found, name)
            except ImportError:
                found = Extension(name)
            except AttributeError:
                self._report(node, f"{_text(path[: i + 1])}: not in CuPy {self.cupy.__version__}")
                return UNKNOWN
            if found is UNKNOWN:
                return UNKNOWN
        return found

    # Keywords.

    def visit_Call(self, node):
        self.generic_visit(node)
        function, arguments = node.func, node.args
        if isinstance(function, ast.Name) and function.id == "partial" and arguments:
            function, *arguments = arguments
        if isinstance(function, ast.Name) and function.id == "getattr" and self._paths(arguments[0]):
            self._report(node, "getattr on the array library: the name cannot be checked; write it out")
        keywords = [keyword.arg for keyword in node.keywords if keyword.arg]
        paths = self._paths(function)
        for path in paths:
            self._check_call(node, path, arguments, keywords)
        if not paths and not self.host and isinstance(function, ast.Attribute):
            self._check_method(node, function.attr, keywords)

    def _check_call(self, node, path, arguments, keywords):
        called = self._resolve(path, node)
        if called is UNKNOWN or path == ():
            return
        signature = signature_of(called, ".".join(path))
        if signature is None:
            if keywords:
                self._report(node, f"{_text(path)}: nothing tells its keywords; give them in SIGNATURES")
            return
        positional = [] if any(isinstance(argument, ast.Starred) for argument in arguments) else arguments
        try:
            signature.bind_partial(*positional, **dict.fromkeys(keywords))
        except TypeError as error:
            self._report(node, f"{_text(path)}{signature}: {error}")

    def _check_method(self, node, name, keywords):
        """Whatever has the method: what no NumPy array would take is another class's, and not for this test."""
        ours, theirs = (_method_signature(array, name) for array in (np.ndarray, self.cupy.ndarray))
        if ours and theirs:
            for keyword in keywords:
                if _takes(ours, keyword) and not _takes(theirs, keyword):
                    self._report(node, f".{name}({keyword}=): not in CuPy {self.cupy.__version__}, which has {theirs}")


def _text(path):
    return ".".join(["xp", *path]).replace(".()", "()")


@cache
def _only_in_numpy(cupy):
    return {name for name in dir(np.ndarray) if not name.startswith("__")} - set(dir(cupy.ndarray))


@cache
def _method_signature(array, name):
    method = getattr(array, name, None)
    return signature_of(method) if callable(method) else None


def _takes(signature, keyword):
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return keyword in signature.parameters or inspect.Parameter.VAR_KEYWORD in kinds


@pytest.fixture(scope="module")
def cupy() -> ModuleType:
    return pytest.importorskip("cupy", reason="CuPy is not installed: pip install cupy-cuda12x, no GPU needed")


def findings_in(source, cupy, **where):
    return Reader(cupy, **where).read(source)


def test_all_names_and_keywords_are_those_of_the_installed_cupy(cupy):
    wrong, files = [], sorted(PACKAGE.rglob("*.py"))
    for path in files:
        module = path.relative_to(PACKAGE).with_suffix("").as_posix()
        host = module in HOST or f"{module.partition('/')[0]}/" in HOST
        wrong += findings_in(path.read_text(), cupy, module=module, host=host)
    assert len(files) > 40
    assert not wrong


def stand_in():
    """(path, what strict_cupy has there) for all that stands for something of CuPy's."""
    from strict_cupy import cuda, functions, ndarray, ufuncs

    for name in [*functions.__all__, *ufuncs.NAMES, "ndarray", "ElementwiseKernel"]:
        yield (name,), getattr(strict_cupy, name)
    for name in cuda.__all__:
        yield ("cuda", name), getattr(cuda, name)
    for module in (cuda.runtime, cuda.cublas):
        home = module.__name__.rpartition(".")[2]
        for name, value in vars(module).items():
            own = isinstance(value, int) or getattr(value, "__module__", "") == module.__name__
            if own and isinstance(value, FunctionType | int) and name[0] != "_" and name != "HANDLE":
                yield ("cuda", home, name), value
    for path, owner in [(("ndarray",), ndarray), *((("cuda", c.__name__), c) for c in (cuda.Device, cuda.Stream))]:
        for name, value in vars(owner).items():
            if name[0] != "_":
                yield (*path, name), value


def agrees(ours, theirs, name):
    """Whether numbers are equal, and a function's parameters have names that CuPy's has."""
    if isinstance(ours, int):
        return ours == theirs
    signature = signature_of(theirs, name) if isinstance(ours, FunctionType) else None
    if signature is None or any(each.kind == each.VAR_POSITIONAL for each in signature.parameters.values()):
        return True
    return all(_takes(signature, parameter) for parameter in inspect.signature(ours).parameters if parameter != "self")


def test_the_stand_in_has_nothing_that_cupy_has_not(cupy):
    reader, different = Reader(cupy), []
    for path, ours in stand_in():
        theirs = reader._resolve(path, ast.Name(id="", lineno=0))
        if theirs is not UNKNOWN and not agrees(ours, theirs, ".".join(path)):
            different.append(f"{_text(path)}: {signature_of(ours) or ours}, CuPy's is {signature_of(theirs) or theirs}")
    assert reader.findings + different == []


def test_a_library_that_does_not_load_tells_its_names(cupy):
    cublas = Extension("cublas")
    assert list(signature_of(cublas.gemmStridedBatchedEx).parameters)[:3] == ["handle", "transa", "transb"]
    assert cublas.CUBLAS_COMPUTE_32F is UNKNOWN
    with pytest.raises(AttributeError):
        _ = cublas.CUBLAS_COMPUTE_32


WRONG = {
    "an unknown name": ("def f(x):\n    xp = array_module(x)\n    return xp.matmull(x, x)", "xp.matmull: not in CuPy"),
    "a name in a namespace": ("y = self.xp.linalg.nrm(x)", "xp.linalg.nrm: not in CuPy"),
    "a name that NumPy alone has": ("y = backend.xp.asmatrix(x)", "xp.asmatrix: not in CuPy"),
    "an unknown keyword": ("y = array_module(x).sum(x, where=mask)", "unexpected keyword argument 'where'"),
    "a ufunc's keyword": ("def f(x, xp):\n    return xp.add(x, x, where=x)", "unexpected keyword argument 'where'"),
    "too many arguments": ("y = array_module(x).ascontiguousarray(x, float, None)", "too many positional"),
    "an alias": ("xp, n = array_module(x), 3\nadd = xp.add\nadd(x, x, where=x)", "unexpected keyword argument 'where'"),
    "one of two": ("f = a.xp.sin if n else a.xp.cosine\n", "xp.cosine: not in CuPy"),
    "an alias of a namespace": ("cuda = array_module(x).cuda\ncuda.get_curent_stream()", "xp.cuda.get_curent_stream"),
    "an attribute of an object": ("handle = a.xp.cuda.Device().blas_handle", "xp.cuda.Device().blas_handle"),
    "a library's constant": ("a.xp.cuda.cublas.CUBLAS_OP_R", "xp.cuda.cublas.CUBLAS_OP_R: not in CuPy"),
    "a kernel's option": ('a.xp.ElementwiseKernel("T x", "T y", "y = x", "f", reduce_dim=False)', "'reduce_dim'"),
    "a partial call": ("f = partial(array_module(x).sum, wher=x)", "unexpected keyword argument 'wher'"),
    "a computed name": ("f = getattr(array_module(x), name)", "cannot be checked"),
    "a method's keyword": ("def f(x, mask):\n    return x.sum(axis=0, where=mask)", ".sum(where=): not in CuPy"),
    "a method": ("def f(x):\n    x.setflags(write=False)", ".setflags: NumPy's arrays have it"),
    "NumPy on arrays": ("import numpy as np\ny = np.matmul(x, x)", "np.matmul: takes host arrays"),
    "NumPy by another name": ("from numpy.lib.stride_tricks import as_strided", "np.as_strided: takes host arrays"),
}

RIGHT = {
    "known names": "xp = array_module(x)\ny = xp.matmul(x, x, out=xp.empty_like(x))\nxp.add(x, y, out=y, dtype=d)",
    "views": "array_module(x).lib.stride_tricks.as_strided(x, shape, strides)",
    "methods": "y = x.astype(d, copy=False).sum(axis=0, keepdims=True).reshape(3, -1)",
    "others' methods": "names.sort(key=len)\n'{x}'.format(x=1)\nrng.standard_normal(size=3, dtype=d)",
    "another's name": "def f(maximum, xp):\n    return maximum(1, 2, key=len)",
    "types": "import numpy as np\ny = x.astype(np.float64)\nwith np.errstate(over='ignore'):\n    d = np.dtype(a)",
    "calls": "a.xp.cuda.get_current_stream().synchronize()\nh = a.xp.cuda.Device().cublas_handle",
    "what a property returns": "n = a.xp.cuda.Device().attributes.get('ClockRate', default=0)",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cupy_lacks_is_found(case, cupy):
    source, expected = WRONG[case]
    (finding,) = findings_in(source, cupy, module="some_module")
    assert expected in finding
    assert finding.startswith(f"some_module:{len(source.splitlines())}: ")


@pytest.mark.parametrize("case", RIGHT)
def test_what_cupy_has_is_not_reported(case, cupy):
    assert findings_in(RIGHT[case], cupy) == []


def test_numpy_is_free_where_only_host_arrays_come(cupy):
    source, _ = WRONG["NumPy on arrays"]
    assert findings_in(source, cupy, host=True) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Array.sum(self, axis=None, dtype=None) -> Array", "(axis=None, dtype=None)"),
        ("f(int a, size_t b, c=(1, 2), *, d='x')", "(a, b, c=None, *, d=None)"),
        ("sin(x, /, out=None, \\*, casting='same_kind')", "(x, /, out=None, *, casting=None)"),
        ("nothing to read", None),
    ],
)
def test_signatures_are_read_from_docstrings(text, expected):
    signature = parse_signature(text)
    assert (None if signature is None else str(signature)) == expected
