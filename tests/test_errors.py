import pickle
import signal

from chattpl.errors import Interrupted


def test_an_interruption_keeps_its_signal_when_it_is_pickled():
    assert pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM))).signum == signal.SIGTERM


def test_an_interruption_names_its_signal():
    assert str(Interrupted(15)) == "interrupted by signal 15"
