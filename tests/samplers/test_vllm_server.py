"A vLLM server's process: what it inherits"

from rlops_lab.samplers.vllm_server import VLLMServer


def test_limits_of_this_process_are_not_the_servers(monkeypatch):
    for name in ('OMP_NUM_THREADS', 'LRU_CACHE_CAPACITY', 'KEPT'):
        monkeypatch.setenv(name, '1')
    env = VLLMServer('a-model', env=dict(OMP_NUM_THREADS='2')).env
    assert env['OMP_NUM_THREADS'] == '2'
    assert env['KEPT'] == '1'
    assert 'LRU_CACHE_CAPACITY' not in env
    assert 'ONEDNN_PRIMITIVE_CACHE_CAPACITY' not in env
