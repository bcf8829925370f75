"""`python call.py ADDRESS MODEL IMAGE...`: call a server with KServe's own REST client, and print the results as JSON.

Runs in an environment of its own (requirements.lock), because KServe's protobuf conflicts with that of TensorFlow.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from pathlib import Path

from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


async def main(address: str, model: str, images: list[Path]) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=30))
    data = [b64encode(image.read_bytes()).decode() for image in images]
    tensor = InferInput(name="image", shape=[len(data)], datatype="BYTES", data=data)
    response = await client.infer(address, InferRequest(model_name=model, infer_inputs=[tensor]), model_name=model)
    print(
        json.dumps(
            {
                "live": await client.is_server_live(address),
                "ready": await client.is_server_ready(address),
                "model_ready": await client.is_model_ready(address, model),
                "shape": response.outputs[0].shape,
                "probabilities": response.outputs[0].as_numpy().tolist(),
            }
        )
    )
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], [Path(name) for name in sys.argv[3:]]))
