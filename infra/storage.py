"""What the stack remembers: the table and the bucket. Both outlive the stack unless its owner says otherwise."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledged import acknowledge
from lambdas import names

CHECKPOINTS_KEPT = Duration.days(90)
"""As long as ended jobs are kept. A save uploads what is 30 days old anew (worker/checkpoint/), so that a running
job's checkpoint never gets this old; an ended job's is gone 60 to 90 days after its last save."""


class Storage(Construct):
    """`table` and `bucket`; `kept`: they outlive the stack; `retained`: what does, in words."""

    def __init__(self, scope: Construct, id: str, *, keep_data: bool) -> None:
        super().__init__(scope, id)
        removal = RemovalPolicy.RETAIN if keep_data else RemovalPolicy.DESTROY
        self.table = self._table(removal)
        self.bucket = self._bucket(removal)
        self.kept = keep_data
        self.retained = f"table {self.table.table_name}, bucket {self.bucket.bucket_name}" if keep_data else "nothing"

    def _table(self, removal: RemovalPolicy) -> dynamodb.TableV2:
        def text(name: str) -> dynamodb.Attribute:
            return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)

        return dynamodb.TableV2(
            self,
            "Table",
            partition_key=text(names.TABLE_PK),
            sort_key=text(names.TABLE_SK),
            billing=dynamodb.Billing.on_demand(),
            time_to_live_attribute=names.TABLE_TTL,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=names.INDEX,
                    partition_key=text(names.INDEX_PK),
                    sort_key=text(names.INDEX_SK),
                    projection_type=dynamodb.ProjectionType.INCLUDE,
                    non_key_attributes=list(names.INDEX_ATTRIBUTES),
                )
            ],
            dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            removal_policy=removal,
        )

    def _bucket(self, removal: RemovalPolicy) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            lifecycle_rules=[
                s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(2)),
                s3.LifecycleRule(id="checkpoints", prefix=names.PREFIX_CHECKPOINTS, expiration=CHECKPOINTS_KEPT),
                s3.LifecycleRule(
                    id="inputs", prefix=names.PREFIX_INPUTS, expiration=Duration.days(names.INPUTS_KEPT_DAYS)
                ),
            ],
            removal_policy=removal,
        )
        acknowledge(
            bucket,
            "Access logs would need a bucket of their own for what only this stack's roles may touch; who audits "
            "S3 has CloudTrail's data events, which an account switches on for all of its buckets.",
            "AwsSolutions-S1",
        )
        return bucket
