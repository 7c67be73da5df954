"""Every test: hypothesis without deadlines, for no test measures time."""

from hypothesis import HealthCheck, settings

settings.register_profile("minicoulomb", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("minicoulomb")
