import pytest
import trace_stores as stores
from postgres_server import missing


@pytest.fixture(scope='session', params=stores.KINDS)
def new_address(request, tmp_path_factory):
    "Addresses of empty databases, on SQLite and on PostgreSQL"
    if request.param == 'postgresql' and missing():
        pytest.skip(missing())
    with stores.addresses(request.param, tmp_path_factory.mktemp('stores')) as empty:
        yield empty


@pytest.fixture
def address(new_address):
    return new_address()


@pytest.fixture
def store(address):
    from rlops_lab.observe.traces import TraceStore

    with TraceStore(address) as store:
        yield store
