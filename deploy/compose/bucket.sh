#!/bin/sh
# Make the bucket, the services' own user with rights on that bucket alone, and the bucket's notifications; safe to repeat.
set -eu

store=bucket-job
mc --quiet alias set "$store" "$MEDIABUS_S3_ENDPOINT" "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" >/dev/null
mc --quiet mb --ignore-existing "$store/$MEDIABUS_S3_BUCKET"

cat >/tmp/policy.json <<END
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
      "Resource": ["arn:aws:s3:::$MEDIABUS_S3_BUCKET"]
    },
    {
      "Effect": "Allow",
      "Action": [
        "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"
      ],
      "Resource": ["arn:aws:s3:::$MEDIABUS_S3_BUCKET/*"]
    }
  ]
}
END
mc --quiet admin policy create "$store" mediabus-bucket /tmp/policy.json
mc --quiet admin user add "$store" "$MEDIABUS_S3_ACCESS_KEY" "$MEDIABUS_S3_SECRET_KEY"
# Attaching what is attached is an error, so the outcome is what counts.
mc --quiet admin policy attach "$store" mediabus-bucket --user "$MEDIABUS_S3_ACCESS_KEY" >/dev/null 2>&1 || true
mc admin user info "$store" "$MEDIABUS_S3_ACCESS_KEY" | grep -q mediabus-bucket || {
    echo "error: the services' user has no policy mediabus-bucket" >&2
    exit 1
}

# Two targets on purpose: FAST tells at once and forgets what was not taken, DURABLE queues on disk and is a few seconds
# late. Both carry the same sequencer, by which readers drop the second.
for target in FAST:webhook DURABLE:kafka; do
    mc --quiet event add "$store/$MEDIABUS_S3_BUCKET" "arn:minio:sqs::$target" --event put,delete --ignore-existing
done
mc --quiet event list "$store/$MEDIABUS_S3_BUCKET"
