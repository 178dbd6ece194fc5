import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

from herbray.probes.lbfgs import minimise


class Valleys:
    """Rosenbrock's function, stretched by a factor of its own in each row: line searches take several steps."""

    def __init__(self, factors):
        self.factors = torch.tensor(factors, dtype=torch.float64)

    def measure(self, state):
        scaled = (state * self.factors.unsqueeze(1)).numpy()
        slope = torch.from_numpy(np.stack([rosen_der(each) for each in scaled])) * self.factors.unsqueeze(1)
        return torch.tensor([rosen(each) for each in scaled], dtype=torch.float64), slope

    def select(self, kept):
        return Valleys(self.factors[kept].tolist())


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -4.0, 2.0, 0.5)])
def test_each_function_takes_the_steps_of_scipy_whatever_is_beside_it(start):
    factors = [1.0, 0.3, 2.5]
    found = minimise(Valleys(factors), torch.tensor([start] * 3, dtype=torch.float64), 1e-6, 500)
    for number, factor in enumerate(factors):
        due = minimize(
            lambda x, by=factor: (rosen(x * by), rosen_der(x * by) * by),
            np.array(start),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": 1e-6, "ftol": 64 * 2.0**-52, "maxls": 50, "maxiter": 500},
        )
        assert found.iterations[number] == due.nit
        assert found.evaluations[number] == due.nfev
        assert np.allclose(found.state[number], due.x, atol=1e-6)
        assert found.converged[number]


def test_a_function_at_its_minimum_is_left_there():
    found = minimise(Valleys([1.0]), torch.ones(1, 2, dtype=torch.float64), 1e-6, 10)
    assert (found.iterations.item(), found.converged.item()) == (0, True)
    assert found.state.tolist() == [[1.0, 1.0]]
