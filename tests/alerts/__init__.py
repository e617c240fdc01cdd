"""What is shipped for Prometheus, Alertmanager and Grafana, proven on real ones and a real daemon."""
