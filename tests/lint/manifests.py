"""What manifests/ ships parses, and says the same as the code's defaults."""
import json
import os
import re
import shutil
import subprocess
import tempfile

SOCKET = "/run/gantry/gantry.sock"


def present(tree):
    return [name for name in tree.files if name.startswith("manifests/")]


def yaml_documents(text):
    import yaml  # Debian's python3-yaml

    return [document for document in yaml.safe_load_all(text) if document is not None]


def parse(tree):
    import importlib.util

    if importlib.util.find_spec("yaml") is None:
        yield "python3 has no yaml (package python3-yaml)"
        return
    import yaml

    for name in present(tree):
        try:
            if name.endswith((".json", ".conflist")):
                json.loads(tree.text(name))
            elif name.endswith(".yaml") and not yaml_documents(tree.text(name)):
                yield f"{name}: empty"
        except (ValueError, yaml.YAMLError) as error:
            yield f"{name}: {' '.join(str(error).split())}"


def sockets(tree):
    """Every file that names our socket names the default one; the code's default is the same."""
    for name in present(tree):
        for found in re.findall(r"unix://(/[\w./-]+)", tree.text(name)):
            if name.endswith((".yaml", ".json", ".service")) and found != SOCKET:
                yield f"{name}: {found} is not the default socket {SOCKET}"
    config = [name for name in tree.product if name.startswith("cri/config/")]
    if config and not any(SOCKET in tree.text(name) for name in config):
        yield f"cri/config: {SOCKET} is not the default of `listen` any more"


def shapes(tree):
    """The documents have the kinds and fields that their readers look for."""
    wanted = {
        "manifests/kubelet.yaml": lambda d: d["kind"] == "KubeletConfiguration" and d["containerRuntimeEndpoint"] == f"unix://{SOCKET}",
        "manifests/runtimeclass.yaml": lambda d: d["kind"] == "RuntimeClass" and d["handler"] == "gantry",
        "manifests/crictl.yaml": lambda d: d["runtime-endpoint"] == d["image-endpoint"] == f"unix://{SOCKET}",
        "manifests/cni-bridge.conflist": lambda d: d["cniVersion"] and d["name"] and all(p["type"] for p in d["plugins"]),
        "manifests/pod.json": lambda d: all(d["metadata"][key] for key in ("name", "namespace", "uid")),
        "manifests/container.json": lambda d: d["metadata"]["name"] and d["image"]["image"],
    }
    for name, holds in wanted.items():
        try:
            documents = [json.loads(tree.text(name))] if name.endswith(("json", "conflist")) else yaml_documents(tree.text(name))
            if not all(holds(document) for document in documents):
                yield f"{name}: says something else than its readers need"
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            yield f"{name}: {type(error).__name__} {error}"


def unit(tree):
    """systemd reads the unit; the binary need not be installed for that."""
    name = "manifests/gantry.service"
    text = tree.text(name)
    for line in ("Type=notify", "Delegate=yes", "KillMode=process", "OOMScoreAdjust=-999", "Restart=always"):
        if line not in text.split("\n"):
            yield f"{name}: {line} is missing"
    if shutil.which("systemd-analyze") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "gantry.service")
        with open(path, "w") as file:
            file.write(re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", text, flags=re.M))
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
        for line in done.stderr.splitlines():
            if "gantry.service" in line:
                yield f"{name}: {line}"


CHECKS = {"manifests-parse": parse, "manifests-sockets": sockets, "manifests-shapes": shapes, "manifests-unit": unit}
