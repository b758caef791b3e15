"""Every string that code and infrastructure must spell alike. Nothing else lives here, and nothing is imported.

Environment variables of the functions, tags, metric names, paths in the bucket, event names: the CDK app,
the functions, the command line and the local AWS all read them from this file, so that a name is typed once.
"""

STACK = "Lowtide"
"""Default stack name (`--stack`, LOWTIDE_STACK)."""

# --- environment of the functions -------------------------------------------------------------------------------------
ENV_STACK = "LOWTIDE_STACK"
ENV_TABLE = "LOWTIDE_TABLE"
ENV_BUCKET = "LOWTIDE_BUCKET"
ENV_JOB_QUEUE = "LOWTIDE_JOB_QUEUE_URL"
ENV_PARKED_QUEUE = "LOWTIDE_PARKED_QUEUE_URL"
ENV_RECONCILE_QUEUE = "LOWTIDE_RECONCILE_QUEUE_URL"
ENV_LAUNCH_TEMPLATE = "LOWTIDE_LAUNCH_TEMPLATE_ID"
ENV_LAUNCH_TEMPLATE_VERSION = "LOWTIDE_LAUNCH_TEMPLATE_VERSION"
"""On-demand: EC2 refuses an on-demand request whose template tags spot requests, hence one template for each."""
ENV_SPOT_LAUNCH_TEMPLATE = "LOWTIDE_SPOT_LAUNCH_TEMPLATE_ID"
ENV_SPOT_LAUNCH_TEMPLATE_VERSION = "LOWTIDE_SPOT_LAUNCH_TEMPLATE_VERSION"
ENV_SUBNETS = "LOWTIDE_SUBNETS"
"""JSON object {zone name: subnet id}, one subnet per zone."""
ENV_SETTINGS = "LOWTIDE_SETTINGS"
"""JSON object of deploy settings that differ from the defaults (domain/settings.py)."""
ENV_WORKER_ROLES = "LOWTIDE_WORKER_ROLES"
"""JSON list of role names whose EC2 sessions may call the worker API."""
ENV_DATA_ROLE = "LOWTIDE_DATA_ROLE_ARN"
"""The role whose one-hour credentials the worker API lends to workers."""
ENV_JOB_ROLES = "LOWTIDE_JOB_ROLES"
"""JSON list of the ARNs of roles that the worker API may take for jobs."""
ENV_WORKER_LOGS = "LOWTIDE_WORKER_LOG_GROUP"
ENV_ALARM_TOPIC = "LOWTIDE_ALARM_TOPIC_ARN"

# --- tags of sessions that the worker API lends: policies see them as aws:PrincipalTag/<key> --------------------------
SESSION_POOL = "pool"
SESSION_INSTANCE = "instance"
"""Of the data role."""
SESSION_JOB = "job"
"""Of a job's role."""

# --- boot script ------------------------------------------------------------------------------------------------------
STARTUP_SCRIPT_BYTES = 4096
"""Of EC2's 16 KiB of user data, what a pool's own scripts may take together; the stack's boot script leaves room."""
STARTUP_FRAME_BYTES = 512
"""What runs them takes up to so much more."""

# --- tags on everything launched --------------------------------------------------------------------------------------
TAG_STACK = "lowtide:stack"
TAG_POOL = "lowtide:pool"
TAG_DECISION = "lowtide:decision"

# --- stack outputs ----------------------------------------------------------------------------------------------------
OUTPUT_JOB_QUEUE_URL = "JobQueueUrl"
OUTPUT_PARKED_QUEUE_URL = "ParkedQueueUrl"
OUTPUT_TABLE_NAME = "TableName"
OUTPUT_BUCKET_NAME = "BucketName"
OUTPUT_ALARM_TOPIC_ARN = "AlarmTopicArn"
OUTPUT_DASHBOARD_NAME = "DashboardName"
OUTPUT_WORKER_LOG_GROUP_NAME = "WorkerLogGroupName"
OUTPUT_CONTROL_LOG_GROUP_NAME = "ControlLogGroupName"
OUTPUT_WORKER_POLICY_ARN = "WorkerPolicyArn"
OUTPUT_WORKER_API_URL = "WorkerApiUrl"
OUTPUT_JOB_ROLES = "JobRoles"
"""ARNs that a pool's `job_role_arn` may name, separated by commas; "none"."""
OUTPUT_JOB_ROLE_PRINCIPAL_ARN = "JobRolePrincipalArn"
"""Whom the trust policy of such a role has to name."""
OUTPUT_RETAINED = "RetainedOnDelete"
"""What `cdk destroy` leaves behind, by name; "nothing" with `-c retention=delete`."""
OUTPUT_SETTINGS = "Settings"
"""As ENV_SETTINGS, for the command line. A stack that was deployed before there was this output does not have it."""

# --- properties of the custom resource that ends instances -----------------------------------------------------------
PROPERTY_EMPTIED = "EmptiedBucket"
"""The bucket that goes with the stack; empty text: none does."""
PROPERTY_RETAINED = "Retained"
"""As in the output."""

# --- places in the bucket ---------------------------------------------------------------------------------------------
PREFIX_WORKER = "worker/"
PREFIX_INPUTS = "inputs/"
PREFIX_CHECKPOINTS = "checkpoints/"
INPUTS_KEPT_DAYS = 365
"""Inputs are deleted so long after their upload: who reuses one by its content hash uploads it anew well before."""

# --- table ------------------------------------------------------------------------------------------------------------
TABLE_PK = "pk"
TABLE_SK = "sk"
TABLE_TTL = "expires_at"
"""Epoch seconds, DynamoDB's TTL attribute."""
INDEX = "by_kind"
"""The one sparse index: gpk says which list an item is in, gsk orders it (keys.py)."""
INDEX_PK = "gpk"
INDEX_SK = "gsk"
INDEX_ATTRIBUTES = ("pool", "job_id", "instance_id", "state", "observed_state", "launched_at", "summary", "decision")
"""What the index carries beside its keys: enough for the tick and for listings, never a job's body."""

# --- metrics (contract section 6) -------------------------------------------------------------------------------------
NAMESPACE = "Lowtide"
DIMENSION_STACK = "Stack"
DIMENSION_POOL = "Pool"
DIMENSION_REASON = "Reason"
METRIC_DESIRED = "DesiredInstances"
METRIC_RUNNING = "RunningInstances"
METRIC_LAUNCHING = "LaunchingInstances"
METRIC_UNFULFILLED = "UnfulfilledInstances"
METRIC_QUEUED_JOBS = "QueuedJobs"
METRIC_RUNNING_JOBS = "RunningJobs"
METRIC_OLDEST_QUEUED_AGE = "OldestQueuedJobAge"
METRIC_INTERRUPTIONS = "Interruptions"
METRIC_LAUNCHED = "InstancesLaunched"
METRIC_TERMINATED = "InstancesTerminated"
METRIC_LAUNCH_FAILURES = "LaunchFailures"
METRIC_SUCCEEDED = "JobsSucceeded"
METRIC_FAILED = "JobsFailed"
METRIC_HOURLY_COST = "HourlyCost"
METRIC_ON_DEMAND_HOURLY_COST = "OnDemandHourlyCost"
METRIC_EQUIVALENT_HOURLY_COST = "OnDemandEquivalentHourlyCost"
"""What everything that is there would cost on demand; the difference to HourlyCost is what spot saves."""
METRIC_PRICE_OF_LIMIT = "SpotPriceToLimit"
"""Percent: of the pool where it is highest, its cheapest offering's spot price over that offering's limit."""
METRIC_TICKS = "TicksCompleted"
METRIC_UNFULFILLED_TOO_LONG = "PoolsUnfulfilledTooLong"
METRIC_BLOCKED = "PoolsBlocked"
METRIC_PARKED = "JobsParked"
METRIC_UNKNOWN_ERRORS = "UnknownErrorCodes"
METRIC_PASSES_FAILED = "PassesFailed"
"""Passes that ended in an error of ours; the pool is looked at again a little later."""
METRIC_REFUSED_CALLS = "RefusedCalls"
"""Calls of the worker API that asked for what is not the caller's, or were no calls of a worker; also by Reason, the
refusal's `error`. What belongs to ordinary life is not counted: a lost lease, an instance that is not in the table yet.
"""

# --- alarms: logical name -> the runbook section its description names (docs/operations.md) ---------------------------
ALARM_UNFULFILLED = "UnfulfilledCapacity"
ALARM_BLOCKED = "BlockedPools"
ALARM_PARKED = "ParkedJobs"
ALARM_SILENT = "ControlLoopSilent"
ALARM_UNKNOWN_ERRORS = "UnknownErrorCode"
ALARM_FUNCTIONS = "FunctionErrors"
ALARM_THROTTLES = "FunctionThrottles"
RUNBOOK_SECTIONS = {
    ALARM_UNFULFILLED: "unfulfilled-capacity",
    ALARM_BLOCKED: "blocked-pools",
    ALARM_PARKED: "parked-jobs",
    ALARM_SILENT: "control-loop-silent",
    ALARM_UNKNOWN_ERRORS: "unknown-error-code",
    ALARM_FUNCTIONS: "function-errors",
    ALARM_THROTTLES: "function-throttles",
}

# --- worker API paths (function URL, IAM) -----------------------------------------------------------------------------
API_HELLO = "/v1/hello"
API_CLAIM = "/v1/claim"
API_HEARTBEAT = "/v1/heartbeat"
API_FINISH = "/v1/finish"
API_RELEASE = "/v1/release"
API_CREDENTIALS = "/v1/credentials"
API_JOB_CREDENTIALS = "/v1/job-credentials"

# --- events on EventBridge's default bus ------------------------------------------------------------------------------
EVENT_SOURCE = "lowtide"
ITEM_JOB = "JOB"
"""Sort key of the items whose changes are told: the JOB of adapters/keys.py."""
EVENT_JOB_STATE = "Lowtide Job State Change"
ITEM_POOL_STATE = "STATE"
"""Sort key of the items that say what a pool's last pass concluded: the STATE of adapters/keys.py."""
ATTRIBUTE_ALARMED = "alarmed"
"""Of those items, while a shortage is told of; each change of it is told."""
EVENT_POOL_SHORTAGE = "Lowtide Pool Shortage"

PRICING_REGION = "us-east-1"
"""The Pricing API has endpoints in a few Regions only; this one answers for all of them."""
