"""Runs in vLLM's environment: one engine, asked line by line for whole batches of requests.

In: a line of options of the engine, then a line ``{"prompts": …, "length": …}`` a batch. Out: one
line each, marked, with CPU and wall seconds of the batch and the answers.
"""

import json
import os
import sys
import time
from typing import Any

MARK = "told: "


def main() -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # all CPU time is this process's
    from vllm import LLM, SamplingParams

    engine = LLM(**json.loads(sys.stdin.readline()))
    say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
        params = SamplingParams(temperature=0, max_tokens=asked["length"], ignore_eos=True)
        params.detokenize = False
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        done = engine.generate(prompts, params, use_tqdm=False)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        answers = [list(each.outputs[0].token_ids) for each in done]
        say({"cpu_s": cpu_s, "wall_s": wall_s, "answers": answers})


def say(told: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(told)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
