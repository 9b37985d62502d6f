"""What Headrace costs, each as a ratio of programs measured in turns within one run. `make bench` writes `results/`."""
