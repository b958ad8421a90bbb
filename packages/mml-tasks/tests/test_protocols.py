from mml_tasks import HasTargetStatistics


def test_a_data_module_with_statistics_is_recognised(data):
    assert isinstance(data, HasTargetStatistics)
    assert not isinstance(object(), HasTargetStatistics)
