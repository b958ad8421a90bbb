"""Loss spikes: signs in the moments of Adam, autocorrelation of weights, detection in the loss."""
