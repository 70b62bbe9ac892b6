"""The widget in hosts' own widget managers, each a command of its own because of what it has to fetch first.

python -m tests.hosts.colab      Google's manager, as Colab's output frames have it
python -m tests.hosts.vscode     VS Code's workbench and webview
python -m tests.hosts.heap       what ten runs of a cell leave in JupyterLab
python -m tests.hosts.bare       where there is no torch
python -m tests.hosts.lite       a page of JupyterLite, with Python in the browser

What they fetch lies in .hosts/ (git-ignored). docs/hosts.md says what they said last.
"""
