"""Where instances run: a VPC of the stack's own, or subnets that the owner named. One subnet per zone, since EC2
refuses a fleet request that names two of one zone (InvalidFleetConfig)."""

from collections.abc import Sequence

from aws_cdk import Annotations
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.acknowledged import acknowledge

_LOOKUP_PENDING = "vpc-12345"
"""The id of the stand-in that CDK synthesizes with before it has looked the real VPC up."""


class Network(Construct):
    """`vpc`, `subnets` (one per zone) and `security_group` (everything out, nothing in)."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc_id: str | None,
        subnet_ids: Sequence[str],
        zones: Sequence[str],
    ) -> None:
        """`vpc_id` None: a VPC of its own over `zones`, all zones of the Region where that is empty."""
        super().__init__(scope, id)
        self.vpc: ec2.IVpc = self._own(zones) if vpc_id is None else ec2.Vpc.from_lookup(self, "Vpc", vpc_id=vpc_id)
        self.subnets: Sequence[ec2.ISubnet] = self.vpc.public_subnets if vpc_id is None else self._named(subnet_ids)
        self.security_group = ec2.SecurityGroup(
            self,
            "Instances",
            vpc=self.vpc,
            description="Instances of Lowtide: everything out, nothing in",
            allow_all_outbound=True,
        )

    def subnets_by_zone(self) -> str:
        """JSON object {zone: subnet id}. Written by hand, since a zone may be a value known only at deploy time."""
        return "{" + ",".join(f'"{s.availability_zone}":"{s.subnet_id}"' for s in self.subnets) + "}"

    def _own(self, zones: Sequence[str]) -> ec2.Vpc:
        """Public subnets and no NAT gateway: it would cost more at rest than the rest of the stack together.

        65,536 addresses in subnets of 4,096 leave room for the six zones of the largest Region. S3 and DynamoDB are
        reached through gateway endpoints, which are free."""
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.90.0.0/16"),
            availability_zones=list(zones) or None,
            max_azs=None if zones else 99,
            nat_gateways=0,
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=20, map_public_ip_on_launch=True
                )
            ],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "DynamoDb": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            },
        )
        acknowledge(
            vpc,
            "Flow logs cost by the gigabyte and would tell of traffic that only jobs begin: nothing comes in. An owner "
            "who must have them adds them to the VPC.",
            "AwsSolutions-VPC7",
        )
        return vpc

    def _named(self, subnet_ids: Sequence[str]) -> list[ec2.ISubnet]:
        """The owner's subnets as the look-up found them. A wrong one fails the synthesis with its name."""
        every = [*self.vpc.public_subnets, *self.vpc.private_subnets, *self.vpc.isolated_subnets]
        if self.vpc.vpc_id == _LOOKUP_PENDING:
            return every
        known = {subnet.subnet_id: subnet for subnet in every}
        for missing in (name for name in subnet_ids if name not in known):
            self._refuse(f"subnet {missing} is not in {self.vpc.vpc_id}, which has {', '.join(sorted(known))}")
        chosen = [known[name] for name in subnet_ids if name in known]
        by_zone: dict[str, str] = {}
        for subnet in chosen:
            other = by_zone.setdefault(subnet.availability_zone, subnet.subnet_id)
            if other != subnet.subnet_id:
                self._refuse(
                    f"subnets {other} and {subnet.subnet_id} are both in {subnet.availability_zone}; name one per zone"
                )
        return chosen

    def _refuse(self, message: str) -> None:
        Annotations.of(self).add_error(f"-c subnet_ids: {message}.")
