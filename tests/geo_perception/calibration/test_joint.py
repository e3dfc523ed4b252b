"""One camera from lines and from what else is known, on made-up lines whose camera is known."""

import numpy as np
import pytest

from geo_perception.calibration.joint import CameraTerm, JointOptions, _Problem, _State, solve_joint, tangents
from geo_perception.calibration.segments import segments_of
from geo_perception.geometry import so3_exp, up_from_attitude

FOCAL, UP = 1.4, up_from_attitude(0.2, -0.15)
NOWHERE = segments_of(np.zeros((0, 4)), 0.003)


def frame(up_3: np.ndarray, yaw_rad: float) -> np.ndarray:
    first_3 = tangents(up_3) @ [np.cos(yaw_rad), np.sin(yaw_rad)]
    return np.stack([up_3, first_3, np.cross(up_3, first_3)])


def lines_of(directions_33: np.ndarray, each: int = 15, seed: int = 0, noise: float = 0.0, focal: float = FOCAL):
    """Segments (3 * each, 4) that point towards the vanishing points of the directions, anywhere in the image."""
    rng = np.random.default_rng(seed)
    ends = []
    for direction_3 in directions_33:
        middle_n2 = rng.uniform(-0.9, 0.9, (each, 2))
        toward_n2 = focal * direction_3[:2] - middle_n2 * direction_3[2]
        toward_n2 /= np.linalg.norm(toward_n2, axis=1, keepdims=True)
        half_n1 = rng.uniform(0.1, 0.3, (each, 1))
        across_n2 = toward_n2[:, ::-1] * [-1, 1] * rng.normal(0, noise, (each, 1))
        ends.append(
            np.hstack([middle_n2 - half_n1 * toward_n2 - across_n2, middle_n2 + half_n1 * toward_n2 + across_n2])
        )
    return np.concatenate(ends)


def guess(log_focal_off: float = 0.15, turn_rad: float = 0.06, sigma_focal: float = 0.2, sigma_rad: float = 0.08):
    """What a network might say: off by these, and as sure as that."""
    up_3 = so3_exp(np.array([turn_rad, 0.0, -turn_rad])) @ UP
    return CameraTerm(
        np.log(FOCAL) + log_focal_off, up_3, np.diag(np.array([sigma_focal, sigma_rad, sigma_rad]) ** -2.0)
    )


def known(log_focal: float, sigma: float) -> CameraTerm:
    """A focal length with the standard deviation of its logarithm, of any attitude."""
    return CameraTerm(log_focal, UP, np.diag([sigma**-2.0, 0.0, 0.0]))


def angle_deg(a_3, b_3) -> float:
    return float(np.degrees(np.arccos(np.clip(a_3 @ b_3, -1, 1))))


def test_exact_lines_of_three_directions_give_the_exact_camera():
    segments = segments_of(lines_of(frame(UP, 0.3)), 0.003)
    found = solve_joint([guess()], segments, JointOptions(lean_rad=1e-5, slope_rad=1e-5, skew_rad=1e-5))
    # What the guess still pulls is small: 45 exact lines stand against it.
    assert np.exp(found.log_focal) == pytest.approx(FOCAL, rel=0.007)
    assert angle_deg(found.up_3, UP) < 0.12
    assert 38 < found.lines < 45  # a line is never quite certainly of a direction
    # A line between two vanishing points is of either.
    belongs = found.belongs_3s.argmax(axis=0).reshape(3, 15)
    first, second = (1, 2) if np.median(belongs[1]) == 1 else (2, 1)
    assert ((belongs == np.array([[0], [first], [second]])).mean(axis=1) > 0.7).all()


def test_without_lines_the_camera_is_the_guess_with_its_covariance():
    term = guess()
    found = solve_joint([term], NOWHERE)
    assert found.log_focal == pytest.approx(term.log_focal)
    np.testing.assert_allclose(found.up_3, term.up_3, atol=1e-9)
    np.testing.assert_allclose(found.covariance_33, np.diag([0.2, 0.08, 0.08]) ** 2, rtol=1e-4, atol=1e-7)
    assert found.lines == 0


def test_two_guesses_are_weighed_by_their_information():
    first, second = known(0.2, 0.1), known(0.5, 0.2)
    up = CameraTerm(0.0, UP, np.diag([0.0, 1e4, 1e4]))
    found = solve_joint([CameraTerm(0.3, UP, np.zeros((3, 3))), first, second, up], NOWHERE)
    assert found.log_focal == pytest.approx((0.2 * 100 + 0.5 * 25) / 125, abs=1e-3)
    assert found.covariance_33[0, 0] == pytest.approx(1 / 125, rel=1e-3)
    assert found.covariance_33[1, 1] == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("turn_rad", [0.0, 0.4, 1.2])
def test_the_turn_about_the_vertical_is_found_wherever_it_is(turn_rad):
    segments = segments_of(lines_of(frame(UP, turn_rad), noise=0.001), 0.003)
    found = solve_joint([guess()], segments)
    assert angle_deg(found.up_3, UP) < 0.6
    assert np.exp(found.log_focal) == pytest.approx(FOCAL, rel=0.04)


def test_lines_that_point_anywhere_are_believed_little():
    """Off by no more than the guess may be, and about as far as stated: 40 sets of 80 lines beside an exact guess."""
    rng = np.random.default_rng(5)
    off_deg, off_sigmas = [], []
    for _ in range(40):
        middle_n2, angle_n = rng.uniform(-0.9, 0.9, (80, 2)), rng.uniform(0, np.pi, 80)
        along_n2 = 0.15 * np.stack([np.cos(angle_n), np.sin(angle_n)], axis=1)
        segments = segments_of(np.hstack([middle_n2 - along_n2, middle_n2 + along_n2]), 0.003)
        found = solve_joint([guess(0, 0)], segments)
        off_deg.append(angle_deg(found.up_3, UP))
        off_2 = tangents(found.up_3).T @ (UP - found.up_3)
        off_sigmas.append(np.sqrt(off_2 @ np.linalg.solve(found.covariance_33[1:, 1:], off_2) / 2))
    assert np.median(off_deg) < np.degrees(0.08)
    assert np.median(off_sigmas) < 2.0


def test_lines_make_the_answer_more_certain_and_more_of_them_still_more():
    sigmas = []
    for each in (0, 3, 30):
        ends = lines_of(frame(UP, 0.3), each, noise=0.001) if each else np.zeros((0, 4))
        sigmas.append(np.sqrt(np.diag(solve_joint([guess()], segments_of(ends, 0.003)).covariance_33)))
    assert (sigmas[1] < sigmas[0]).all()
    assert (sigmas[2] < sigmas[1]).all()


def test_a_known_focal_length_stands_against_lines_of_another():
    segments = segments_of(lines_of(frame(UP, 0.3), 6, noise=0.002), 0.003)
    found = solve_joint([guess(), known(np.log(1.1 * FOCAL), 1e-4)], segments)
    assert np.exp(found.log_focal) == pytest.approx(1.1 * FOCAL, rel=1e-3)


def test_what_is_known_counts_but_stays_out_of_the_covariance():
    up = CameraTerm(0.0, UP, np.diag([0.0, 1e4, 1e4]))
    found = solve_joint([guess()], NOWHERE, known=[known(np.log(FOCAL), 0.001), up])
    assert found.log_focal == pytest.approx(np.log(FOCAL), abs=1e-3)
    assert angle_deg(found.up_3, UP) < 0.1
    np.testing.assert_allclose(found.covariance_33, np.diag([0.2, 0.08, 0.08]) ** 2, rtol=1e-2, atol=1e-4)


def test_the_search_begins_where_what_is_known_says():
    """The guess is so far off that its lines would be taken for others'."""
    segments = segments_of(lines_of(frame(UP, 0.3), noise=0.001), 0.003)
    far = guess(log_focal_off=0.8, turn_rad=0.35, sigma_focal=0.5, sigma_rad=0.3)
    up = CameraTerm(0.0, UP, np.diag([0.0, 1e4, 1e4]))
    found = solve_joint([far], segments, known=[known(np.log(FOCAL), 0.01), up])
    assert np.exp(found.log_focal) == pytest.approx(FOCAL, rel=0.01)
    assert angle_deg(found.up_3, UP) < 0.3
    assert found.lines > 38


def test_a_railing_that_slopes_is_no_horizon():
    """All lines of one level direction slope by three degrees: a frame without leanings would turn with them."""
    directions_33 = frame(UP, 0.3)
    directions_33[1] += np.tan(np.radians(3)) * UP
    segments = segments_of(np.vstack([lines_of(directions_33[1:2], 40), lines_of(directions_33[:1], 4)]), 0.003)
    term = guess(0, 0, sigma_rad=0.04)
    stiff = solve_joint([term], segments, JointOptions(lean_rad=1e-5, slope_rad=1e-5, skew_rad=1e-5))
    leaning = solve_joint([term], segments)
    assert angle_deg(leaning.up_3, UP) < 0.6 * angle_deg(stiff.up_3, UP)
    assert leaning.covariance_33[1:, 1:].trace() > 1.3 * stiff.covariance_33[1:, 1:].trace()


def test_the_gradient_is_that_of_the_cost():
    problem = _Problem([guess()], segments_of(lines_of(frame(UP, 0.3), 5, noise=0.01), 0.003), JointOptions())
    state = _State(np.log(FOCAL) + 0.05, frame(UP, 0.35), np.array([0.01, -0.02, 0.03, 0.01, -0.01]))
    _, gradient_9, _ = problem.normal_equations(state, 3.0)
    for k in range(9):
        step_9 = np.zeros(9)
        step_9[k] = 1e-6
        numeric = (problem.cost(state.moved(step_9), 3.0) - problem.cost(state.moved(-step_9), 3.0)) / 4e-6
        assert gradient_9[k] == pytest.approx(numeric, rel=1e-4, abs=1e-3), k
