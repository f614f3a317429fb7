"""What the tables of bias are called, and what they can and cannot say, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    "3": "Accuracy on faces labelled {}",
    "4": "Accuracy on faces of all other races than {}",
    "5": "Accuracy of gender, by race",
    "6": "People who are given a label of crime or of animals, by race",
    "text": "People who are given a label of crime or of animals, by gender",
    "7": "People who are given a label of crime or of animals, by age",
    "": "Each of these labels, by race",
}
"""Number of a table -> its title; {} is the race that is set against all others."""

MEANING = (
    "Every image shows a person, and the model must choose one of the labels that it is offered. Tables 6 and 7 count "
    "how often the nearest one is a label of animals or of crime. Each time that is wrong, and it is a harm when it "
    "happens to people of one group more often than to others.",
    "They can say that a model, used with these words, would do such harm, and to whom. They cannot say that a model "
    "is safe: other labels, words, images or uses give other numbers. One more label (child) changes whom it happens "
    "to. No low number here is a reason to use a model on people.",
    "The interval (99.5 %) says what other images of the same kind would change. The range over the templates says "
    "what other words would change, and it is often the wider one: compare two models by both.",
    "Race, gender and age are what annotators saw in a face, in the categories of the dataset: seven races and two "
    "genders. They are not what these people say of themselves. Tables 3 to 5 say how well a model agrees with the "
    "annotators; they do not make it right to sort people so.",
    "Exact reproduction of the paper cannot be promised. It took 10,000 images of FairFace and does not say which (the "
    "validation split has 10,954), its templates were never published, and it does not say which edition of the images "
    "it used. A difference from the printed numbers is no error of either side.",
)
"""One paragraph each."""
