"""All servers that can be compared, by name."""

from tests.bench.peers import generate, llama_cpp, ours, transformers_serve, vllm

SERVERS = {
    peer.name: peer
    for peer in (
        ours.PEER,
        ours.FP16,
        ours.INT8,
        ours.LONG_STEPS,
        transformers_serve.PEER,
        vllm.PEER,
        llama_cpp.F16,
        llama_cpp.Q8_0,
        generate.PEER,
    )
}
