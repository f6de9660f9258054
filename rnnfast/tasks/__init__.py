"""What estimators and the command line share: networks for the common tasks, conformal intervals, forecasts."""
