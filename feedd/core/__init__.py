"""What decides: values and `now` in, values out. It never sleeps, logs, opens or reads a clock."""
