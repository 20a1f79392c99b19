"""What every page for people is made of: language, layout, assets and the policy of what a page may load."""
