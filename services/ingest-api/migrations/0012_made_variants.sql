-- The plan whose repair made the variant, until somebody changes it: undoing the plan takes it away again.
ALTER TABLE product_variants ADD COLUMN made_by_plan uuid;
