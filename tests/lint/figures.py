"""Figures: lengths of functions and files, parameters, nesting. Functions are found by universal-ctags."""
import json
import re
import subprocess

MAX_FUNCTION = 60
P90_FUNCTION = 35
MAX_PARAMETERS = 5
MAX_NESTING = 3
MAX_FILE = 500

# Before an opening brace: a statement that nests, or a function within the function, which starts anew.
CONTROL = re.compile(r"^\s*(?:case\b[^:]*:|default\s*:)?\s*(?:else\b\s*)?(?:if|for|while|switch|do|else|try)\b|^\s*else\s*$")
LAMBDA = re.compile(r"\[[^\[\]]*\]\s*(?:\([^{}]*\))?\s*(?:mutable|noexcept|->\s*[\w:<>*& ,]+|\s)*$")


def functions(tree):
    """All function definitions: dicts with path, name, line, end, signature."""
    done = subprocess.run(
        ["ctags", "--fields=+neS", "--output-format=json", "--kinds-C++=f", "--language-force=C++", "-f", "-", "-L", "-"],
        input="\n".join(tree.cpp), cwd=tree.root, capture_output=True, text=True, check=True)
    tags = (json.loads(line) for line in done.stdout.splitlines())
    return [tag for tag in tags if "end" in tag and "line" in tag]


def length(tag):
    return tag["end"] - tag["line"] + 1


def function_length(tree):
    for tag in functions(tree):
        if length(tag) > MAX_FUNCTION:
            yield f"{tag['path']}:{tag['line']}: {tag['name']} has {length(tag)} lines, more than {MAX_FUNCTION}"


def function_p90(tree):
    sizes = sorted((length(tag) for tag in functions(tree)), reverse=True)
    if sizes and sizes[len(sizes) // 10] > P90_FUNCTION:
        yield f"a tenth of the functions has more than {sizes[len(sizes) // 10]} lines; {P90_FUNCTION} are allowed"


def parameters(signature):
    """Counts what stands between commas at the outermost level."""
    inside = signature[1:signature.rfind(")")]
    depth, count = 0, 1
    for character in inside:
        depth += (character in "(<[{") - (character in ")>]}")
        count += character == "," and depth == 0
    return count if inside.strip() not in ("", "void") else 0


def function_parameters(tree):
    for tag in functions(tree):
        count = parameters(tag.get("signature") or "()")
        if count > MAX_PARAMETERS and not tree.waived(tag["path"], tag["line"], "gantry-parameters"):
            yield f"{tag['path']}:{tag['line']}: {tag['name']} has {count} parameters, more than {MAX_PARAMETERS}"


def deepest(code):
    """The deepest nesting of control blocks in a function's code; a lambda's body counts from zero."""
    stack, parens, start, worst = [], 0, 0, 0
    for at, character in enumerate(code):
        if character in "()":
            parens += 1 if character == "(" else -1
        elif character == "{":
            head = code[start:at]
            outer = stack[-1] if stack else (0, 0)
            inner = 0 if LAMBDA.search(head) else outer[0] + bool(CONTROL.search(head))
            stack.append((inner, parens))
            worst, start = max(worst, inner), at + 1
        elif character == "}" and stack:
            parens = stack.pop()[1]
            start = at + 1
        elif character == ";" and parens == (stack[-1][1] if stack else 0):
            start = at + 1
    return worst


def nesting(tree):
    for tag in functions(tree):
        lines = tree.code(tag["path"]).split("\n")[tag["line"] - 1:tag["end"]]
        depth = deepest("\n".join(lines))
        if depth > MAX_NESTING:
            yield f"{tag['path']}:{tag['line']}: {tag['name']} nests {depth} deep, more than {MAX_NESTING}"


def file_length(tree):
    for name in tree.files:
        if name.endswith((".h", ".cc", ".py", ".sh", ".go", ".proto")) or name.startswith("manifests/"):
            lines = tree.text(name).count("\n")
            if lines > MAX_FILE:
                yield f"{name}: {lines} lines, more than {MAX_FILE}"


CHECKS = {
    "function-length": function_length,
    "function-p90": function_p90,
    "function-parameters": function_parameters,
    "nesting": nesting,
    "file-length": file_length,
}
