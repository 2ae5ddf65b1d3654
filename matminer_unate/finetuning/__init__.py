"""UnateFineTuneRegressor: the pretrained encoder, trained on to a property."""
