"""A scikit-learn pipeline of features learned without labels and a classifier, and a grid search over both."""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from torchhebb.estimators import SoftHebbTransformer


def main() -> float:
    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(images, labels, random_state=0, stratify=labels)
    pipeline = Pipeline(
        [
            ("features", SoftHebbTransformer(image_shape=(1, 8, 8), epochs=2, random_state=0)),
            ("classes", LogisticRegression(max_iter=1000)),
        ]
    )
    grid = {"features__n_neurons": [10, 40], "features__kernel_size": [3, 5]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(train, train_labels)
    accuracy = 100.0 * search.score(test, test_labels)
    print(f"digits: {search.best_params_} gives {accuracy:.2f} % on test images")
    return accuracy


if __name__ == "__main__":
    main()
