"""What can be trained from the command line, a module each.

A module has ``EXAMPLES``, ``add_arguments(parser)`` and ``train(args) -> exit code``; for a model that it trained,
``predict(model, task, args) -> Table`` and ``evaluate(model, task, args) -> dict`` where these make sense. ``task`` is
the JSON that the file keeps beside the network.
"""

TASKS = {
    "forecast": "a series of numbers: the next steps, with intervals",
    "classify": "sequences or texts: a label for each",
    "regress": "sequences or texts: a number for each",
    "tag": "sentences: a label for every word",
    "language": "text: what comes next, to generate more of it",
}
MODULES = {
    "forecast": "forecast",
    "classify": "sequences",
    "regress": "sequences",
    "tag": "tag",
    "language": "language",
}
