"""Free atoms → two-centre integrals of all pairs → the tables that the package ships."""
