#!/usr/bin/env python3
"""What an operator does with boto3: makes delivery streams and reads what arrived in the bucket.

    delivery_streams.py URL create ARN...    each stream of the ARNs, with a bucket of its name
    delivery_streams.py URL objects NAME...  the contents of all objects of these buckets, as JSON:
                                             {NAME: [CONTENT IN HEX, ...], ...}
"""

import json
import sys

import boto3


def client(service, region):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=sys.argv[1],
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
    )


def create(arns):
    storage = client("s3", "us-east-1")
    for arn in arns:
        region, name = arn.split(":")[3], arn.rsplit("/", 1)[1]
        storage.create_bucket(Bucket=name)
        answer = client("firehose", region).create_delivery_stream(
            DeliveryStreamName=name,
            DeliveryStreamType="DirectPut",
            S3DestinationConfiguration={
                "RoleARN": "arn:aws:iam::123456789012:role/firehose",
                "BucketARN": f"arn:aws:s3:::{name}",
            },
        )
        assert answer["DeliveryStreamARN"] == arn, answer


def objects(names):
    storage = client("s3", "us-east-1")
    contents = {}
    for name in names:
        pages = storage.get_paginator("list_objects_v2").paginate(Bucket=name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        contents[name] = [
            storage.get_object(Bucket=name, Key=key)["Body"].read().hex() for key in keys
        ]
    json.dump(contents, sys.stdout)


{"create": create, "objects": objects}[sys.argv[2]](sys.argv[3:])
