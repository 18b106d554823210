"""Ray: the genomics dataflow on a real engine, recorded."""
