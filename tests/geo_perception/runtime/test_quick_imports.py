"""Networks are imported without torch's compiler, which works afterwards as ever."""

import subprocess
import sys

CODE = """
import gc, sys
from geo_perception.runtime.quick_imports import quick_imports
with quick_imports():
    import timm
    assert not gc.isenabled()
assert gc.isenabled()
print("compiler:", "torch._dynamo" in sys.modules, "torchvision" in sys.modules)
import torch
network = timm.create_model("test_resnet", pretrained=False).eval()
assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
import torch._dynamo
print(torch._dynamo.__file__ is not None, callable(torch._dynamo.optimize))
import torchvision
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
pooled = torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2)  # which asks the compiler
print(pooled.flatten().tolist())
compiled = torch.compile(lambda x: 2 * x + 1, backend="eager")
print(compiled(torch.tensor([3.0])).item())
"""


def test_the_compiler_is_left_out_until_somebody_compiles():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["compiler: False True", "True True", "[1.0, 1.0, 1.0, 1.0]", "7.0"]


def test_where_the_compiler_is_there_already_it_stays():
    code = (
        "import torch._dynamo as before\nimport sys\nfrom geo_perception.runtime.quick_imports import quick_imports\n"
        "with quick_imports():\n    import timm\nassert sys.modules['torch._dynamo'] is before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
