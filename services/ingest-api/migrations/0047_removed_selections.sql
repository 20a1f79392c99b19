-- Parents of very many items that are being removed, a batch at a time: nobody is shown one of which a part is gone.
ALTER TABLE bulk_jobs ADD COLUMN is_going boolean NOT NULL DEFAULT false;
