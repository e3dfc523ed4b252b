"""The paper's regressor: what it learns from, and that it is scikit-learn's own training."""

import numpy as np
import pytest
from drawn_planes import SIZE_HW, drawn_planes
from geo_training.mapping.fusion.methods import by_mlp
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler


@pytest.fixture(scope="module")
def hidden():
    depth_hw, image_hw3, relative_hw = drawn_planes()
    hidden_hw = np.zeros(SIZE_HW, bool)
    hidden_hw[50:64, 40:70] = True
    return np.where(hidden_hw, 0, depth_hw), relative_hw, image_hw3, hidden_hw


@pytest.fixture(scope="module")
def found(hidden):
    return by_mlp(*hidden[:3])


def test_it_is_what_scikit_learn_fits_with_the_papers_numbers(hidden, found):
    known_hw, relative_hw, image_hw3, hidden_hw = hidden
    y_hw, x_hw = np.indices(SIZE_HW)
    features = np.column_stack([one.ravel() for one in (relative_hw, *np.moveaxis(image_hw3, 2, 0), x_hw, y_hw)])
    known_n = known_hw.ravel() > 0
    scaler = StandardScaler().fit(features[known_n])
    train, _, depth, _ = train_test_split(
        scaler.transform(features[known_n]), known_hw.ravel()[known_n], test_size=0.2, random_state=42
    )
    fitted = MLPRegressor(hidden_layer_sizes=(100, 50), random_state=42, max_iter=1000).fit(train, depth)
    # The same but for the order in which pixels come, which `fit` keeps shuffling.
    assert len(found.train_loss) == pytest.approx(fitted.n_iter_, rel=0.4)
    np.testing.assert_allclose(found.train_loss[:5], fitted.loss_curve_[:5], rtol=0.3)
    assert found.train_loss[-1] == pytest.approx(fitted.loss_curve_[-1], rel=0.5)
    said = fitted.predict(scaler.transform(features[~known_n]))
    np.testing.assert_allclose(found.depth_hw[hidden_hw], said, rtol=0.1)


def test_losses_fall_on_pixels_that_it_did_not_learn_from(found):
    assert len(found.test_loss) == len(found.train_loss) > 10
    assert found.test_loss[-1] < 0.2 * found.test_loss[0]


def test_known_depth_stays_and_no_deviation_is_stated(hidden, found):
    known_hw = hidden[0]
    np.testing.assert_array_equal(found.depth_hw[known_hw > 0], known_hw[known_hw > 0])
    assert found.sigma_hw is None
    assert np.isfinite(found.depth_hw).all()
    assert found.seconds > 0
