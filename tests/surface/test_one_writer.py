"""Every file that Lexiseg writes goes through ``core/atomic_write``; what does not is listed here with its reason."""

import ast
from pathlib import Path

import pytest

import lexiseg

SOURCE = Path(lexiseg.__file__).parent

#: File and call that write elsewhere, and why they may.
ALLOWED = {
    ("core/atomic_write.py", "os.replace"): "the writer itself",
    ("core/atomic_write.py", "os.rename"): "the writer itself",
    ("scoring/store/store.py", "FileIO"): "blocks with checksums are appended; half a block is cut off",
    ("engine/log.py", "open"): "lines are appended; half a line is cut off",
    ("data/captions/tar_index.py", "np.savez"): "into an open file of the writer",
    ("cli/video.py", "result.save"): "a method of ours, which goes through the writer",
    ("cli/calibrate.py", "found.save"): "a method of ours, which goes through the writer",
    ("engine/checkpoint.py", "save_file"): "write_tensors, whose callers are checked below",
    ("engine/checkpoint.py", "os.rename"): "hides a checkpoint before it is deleted",
    ("data/captions/invalid_records.py", "file.open"): "lines are appended by many processes; half a line is passed over",
    ("models/convert_worker.py", "save_file"): "a process without our imports, into a file of the writer",
    ("models/convert.py", "shutil.copyfile"): "into a folder that is renamed when it is whole",
    ("models/convert.py", "partial.rename"): "that folder",
    ("models/dinov2_small.py", "wanted.write_text"): "for pip, in a temporary folder",
    ("models/dinov2_small.py", "unpacked.open"): "in a temporary folder; its hash is checked",
    ("models/dinov2_small.py", "folder.rename"): "a folder that is whole",
    ("models/dinov2_small.py", "fresh.rename"): "a folder that is whole",
}  # fmt: skip

_ALWAYS = {"write_text", "write_bytes", "save_file", "write_tensors", "savez", "savez_compressed", "rename", "renames",
           "copyfile", "copy", "copy2", "copytree", "move", "FileIO", "write_table", "OSFile"}  # fmt: skip


def writes(call: ast.Call) -> bool:
    """Return whether a call writes a file by its name."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    text = ast.unparse(call.func)
    if name == "open" and not text.startswith(("Image.", "archive.", "tarfile.", "webbrowser.", "os.")):
        mode = call.args[1 if text == "open" else 0 :][:1]
        modes = [*mode, *(word.value for word in call.keywords if word.arg == "mode")]
        return any(isinstance(each, ast.Constant) and set(str(each.value)) & set("wax+") for each in modes)
    if name in ("copy", "rename") and not isinstance(call.func, ast.Attribute):
        return False
    if name == "copy" and not text.startswith("shutil"):
        return False
    if name == "replace":
        return text == "os.replace"
    if name == "write_table":
        return text.startswith("parquet")
    if name == "save":
        target = ast.unparse(call.args[0]) if call.args else ""
        return target in ("path", "file", "temporary") or "/" in target
    return name in _ALWAYS


def violations(tree: ast.Module, file: str) -> list[str]:
    found = []

    def walk(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.With):
            opened = [ast.unparse(item.context_expr) for item in node.items]
            inside = inside or any(text.startswith(("atomic_path(", "atomic_folder(")) for text in opened)
        if isinstance(node, ast.Call) and writes(node) and not inside:
            text = ast.unparse(node.func)
            if (file, text) not in ALLOWED:
                found.append(f"{file}:{node.lineno}: {ast.unparse(node)[:80]}")
        for child in ast.iter_child_nodes(node):
            walk(child, inside)

    walk(tree, False)
    return found


def test_every_write_goes_through_the_writer():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if any(
            word in text for word in ("open(", "save", "write_", "rename", "copy", "FileIO", "os.replace")
        ):
            found += violations(ast.parse(text), path.relative_to(SOURCE).as_posix())
    assert not found, "files written outside core/atomic_write:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ["path.write_text('x')", "open(path, 'w')", "path.open('wb')", "save_file(t, path)", "image.save(path)",
     "os.replace(a, b)", "shutil.copytree(a, b)", "np.savez(path, a=1)", "open(path, mode='r+b')"],
)  # fmt: skip
def test_the_scan_sees_a_write(line):
    assert violations(ast.parse(line), "x.py")
    assert not violations(ast.parse(f"with atomic_path(p) as path:\n    {line}"), "x.py")
