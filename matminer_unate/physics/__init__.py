"""Physical quantities of sites and crystals that need no network: descriptors and tight binding."""
