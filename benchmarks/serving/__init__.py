"""The service beside empty BentoML services and the usual tutorial, in one run."""
