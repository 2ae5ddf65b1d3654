"""What every script needs: running, tables of results, paired comparisons, jobs."""
