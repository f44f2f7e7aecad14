# PyTorch's side of the training benches: executes an ONNX network (constants folded) as plain torch calls with its FLOAT
# initializers as parameters. One JSON request on the command line, one line of JSON as the answer.
import json, resource, sys, time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

request = json.loads(sys.argv[1])
torch.set_num_threads(request.get("threads", 1))
if request.get("onednn") is False:
    torch.backends.mkldnn.enabled = False

graph = onnx.load(request["model"]).graph
constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
moving = {n.input[k] for n in graph.node if n.op_type == "BatchNormalization" for k in (3, 4)}
weights = {
    name: torch.nn.Parameter(t) for name, t in constants.items()
    if t.dtype == torch.float32 and t.dim() > 0 and name not in moving
}
constants.update(weights)


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def pad(x, pads):
    half = len(pads) // 2
    flat = []
    for k in reversed(range(half)):
        flat += [pads[k], pads[k + half]]
    return F.pad(x, flat) if any(pads) else x


def windowed(x, a):
    pads = list(a.get("pads", [0, 0, 0, 0]))
    if pads[:2] == pads[2:]:
        return x, tuple(pads[:2])
    return pad(x, [0, 0] + pads[:2] + [0, 0] + pads[2:]), (0, 0)


def run(node, a, x):
    op = node.op_type
    if op == "Conv":
        y, p = windowed(x[0], a)
        return F.conv2d(y, x[1], x[2] if len(x) > 2 else None, tuple(a.get("strides", (1, 1))), p, tuple(a.get("dilations", (1, 1))), a.get("group", 1))
    if op == "BatchNormalization":
        return F.batch_norm(x[0], x[3], x[4], x[1], x[2], True, 0.1, a.get("epsilon", 1e-5))
    if op == "Relu":
        return F.relu(x[0])
    if op == "Clip":
        return torch.clamp(x[0], float(x[1]), float(x[2]))
    if op == "Add":
        return x[0] + x[1]
    if op == "GlobalAveragePool":
        return x[0].mean((2, 3), keepdim=True)
    if op == "AveragePool":
        return F.avg_pool2d(x[0], tuple(a["kernel_shape"]), tuple(a.get("strides", (1, 1))))
    if op == "Flatten":
        return x[0].flatten(a.get("axis", 1))
    if op == "Reshape":
        return x[0].reshape([x[0].shape[i] if d == 0 else d for i, d in enumerate(x[1].tolist())])
    if op == "Gemm":
        w = x[1] if a.get("transB", 0) else x[1].t()
        return F.linear(x[0], w, x[2])
    if op == "Slice":
        starts, ends, axes = x[1].tolist(), x[2].tolist(), x[3].tolist()
        steps = x[4].tolist() if len(x) > 4 else [1] * len(axes)
        cut = [slice(None)] * x[0].dim()
        for s, e, k, d in zip(starts, ends, axes, steps):
            cut[k] = slice(s, e, d)
        return x[0][tuple(cut)]
    if op == "Pad":
        return pad(x[0], x[1].tolist())
    if op == "Concat":
        return torch.cat(x, a["axis"])
    if op == "Identity":
        return x[0]
    raise SystemExit(f"torch-train.py does not know {op}")


plan = [(n, attributes(n)) for n in graph.node]


def forward(images):
    values = dict(constants)
    values[graph.input[0].name] = images
    for node, a in plan:
        values[node.output[0]] = run(node, a, [values[i] for i in node.input if i])
    return values[graph.output[0].name]


size = request["image"]
batch = request["batch"]
images = torch.from_numpy(np.fromfile(request["images"], dtype=np.float32)).reshape(-1, *size)
labels = torch.from_numpy(np.fromfile(request["labels"], dtype=np.int32)).long()
optimizer = torch.optim.SGD(weights.values(), lr=request["rate"], momentum=0.9, nesterov=True)


def step(k):
    at = (k * batch) % len(images)
    optimizer.zero_grad()
    loss = F.cross_entropy(forward(images[at:at + batch]), labels[at:at + batch])
    loss.backward()
    return loss


def answer():
    if request["what"] == "time":
        for k in range(2):
            step(k)
            optimizer.step()
        spent = []
        for k in range(request["rounds"]):
            started = time.perf_counter()
            step(k).item()
            optimizer.step()
            spent.append(1000 * (time.perf_counter() - started))
        return {"ms": spent}
    if request["what"] == "memory":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for k in range(request["rounds"]):
            step(k)
            optimizer.step()
        return {"before": before * 1024, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    losses, gradients = [], {}
    for k in range(request["steps"]):
        loss = step(k)
        losses.append(loss.item())
        if k == 0 and "gradients" in request:
            gradients = {name: [int(w.grad.numel())] for name, w in weights.items() if w.grad is not None}
            with open(request["gradients"], "wb") as file:
                for name in gradients:
                    file.write(weights[name].grad.numpy().tobytes())
        optimizer.step()
    return {"losses": losses, "gradients": gradients}


print(json.dumps({"torch": torch.__version__, **answer()}))
