"""What the bridges to XGBoost and LightGBM share: a round of boosting is an epoch."""
