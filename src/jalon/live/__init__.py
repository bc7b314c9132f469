"""The live page: it reads the folders of runs, shows them in the browser, and passes commands on."""
