def test_fleet(local):
    r = local.ec2.create_fleet(
        Type="instant", ClientToken="a",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {"LaunchTemplateId": local.template, "Version": "1"},
          "Overrides": [{"InstanceType": "m7g.large", "SubnetId": s, "MaxPrice": "0.05"} for s in local.subnets.values()]}],
        TargetCapacitySpecification={"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "spot"},
        SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "lowtide:pool", "Value": "p"}]}])
    print(r)
    ids = [i for x in r["Instances"] for i in x["InstanceIds"]]
    for i in ids: local.hosts.wait("launch", i)
    print(local.hosts.specs[ids[0]])
    import time; time.sleep(1)
    print(local.ec2.describe_instances()["Reservations"][0])
    assert 0
