"""The chapters of ``StoreContract``: one file for each thing that a store promises."""
