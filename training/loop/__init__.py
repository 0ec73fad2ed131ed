"""The loop: decide, let a simulated world answer, log, retrain, ask the gate, promote; week by week."""
